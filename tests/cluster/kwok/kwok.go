// Package kwok plays nodes, and the pods on them, that are none. It is the
// upstream program without the server for logs and shells of such pods: that
// does not agree with this version of Kubernetes.
package kwok

import (
	"context"
	"flag"
	"log"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/kwok/kustomize/stage/node/fast"
	heartbeat "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat-with-lease"
	pods "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/kwok/pkg/apis/config/v1alpha1"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/config"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	"sigs.k8s.io/kwok/pkg/utils/client"
)

// Which nodes it plays: those with this annotation.
const fakes = "kwok.x-k8s.io/node=fake"

func Main() {
	kubeconfig := flag.String("kubeconfig", "", "of somebody who may do what a kubelet may, for all nodes")
	address := flag.String("node-ip", "", "what the nodes say is theirs")
	flag.Parse()
	controller, err := controllers.NewController(settings(*kubeconfig, *address))
	if err == nil {
		err = controller.Start(context.Background())
	}
	if err != nil {
		log.Fatal(err)
	}
	select {}
}

func settings(kubeconfig, address string) controllers.Config {
	published := &v1alpha1.KwokConfiguration{}
	v1alpha1.SetObjectDefaults_KwokConfiguration(published)
	defaults := must(internalversion.ConvertToInternalKwokConfiguration(published)).Options

	// What becomes of nodes and pods, and when.
	stages := map[internalversion.StageResourceRef][]*internalversion.Stage{}
	for _, text := range []string{fast.DefaultNodeInit, heartbeat.DefaultNodeHeartbeatWithLease, pods.DefaultPodReady, pods.DefaultPodComplete, pods.DefaultPodDelete} {
		stage := must(config.UnmarshalWithType[*internalversion.Stage](text))
		stages[stage.Spec.ResourceRef] = append(stages[stage.Spec.ResourceRef], stage)
	}

	clients := must(client.NewClientset("", kubeconfig))
	rests := must(clients.ToRESTConfig())
	return controllers.Config{
		Clock:                             clock.RealClock{},
		DynamicClient:                     must(clients.ToDynamicClient()),
		RESTClient:                        must(rest.RESTClientFor(rests)),
		RESTMapper:                        must(clients.ToRESTMapper()),
		ImpersonatingDynamicClient:        clients.ToImpersonatingDynamicClient(),
		ImpersonatingTypedClient:          clients.ToImpersonatingTypedClient(),
		TypedClient:                       must(kubernetes.NewForConfig(rests)),
		ManageNodesWithAnnotationSelector: fakes,
		CIDR:                              defaults.CIDR,
		NodeIP:                            address,
		NodePort:                          defaults.NodePort,
		LocalStages:                       stages,
		PodPlayStageParallelism:           defaults.PodPlayStageParallelism,
		NodePlayStageParallelism:          defaults.NodePlayStageParallelism,
		NodeLeaseParallelism:              defaults.NodeLeaseParallelism,
		NodeLeaseDurationSeconds:          defaults.NodeLeaseDurationSeconds,
		PodsOnNodeSyncParallelism:         defaults.PodsOnNodeSyncParallelism,
		EnablePodsOnNodeSyncListPager:     defaults.EnablePodsOnNodeSyncListPager,
		EnablePodsOnNodeSyncStreamWatch:   defaults.EnablePodsOnNodeSyncStreamWatch,
		ID:                                must(controllers.Identity()),
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
