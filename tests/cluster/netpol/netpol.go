// Package netpol enforces NetworkPolicies on the one node of a test cluster.
package netpol

import (
	"flag"
	"log"
	"os"
	"os/exec"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

func Main() {
	kubeconfig := flag.String("kubeconfig", "", "of somebody who may list pods, namespaces and policies")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(kubernetes.NewForConfigOrDie(config), 0)
	pods, namespaces := factory.Core().V1().Pods(), factory.Core().V1().Namespaces()
	policies := factory.Networking().V1().NetworkPolicies()

	changed := make(chan struct{}, 1)
	notify := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	for _, informer := range []cache.SharedIndexInformer{pods.Informer(), namespaces.Informer(), policies.Informer()} {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: notify, DeleteFunc: notify, UpdateFunc: func(_, after any) { notify(after) },
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	factory.Start(nil)
	factory.WaitForCacheSync(nil)

	written := ""
	for range changed {
		text := compile(look(pods.Lister().List, namespaces.Lister().List, policies.Lister().List))
		if text == written {
			continue
		}
		if err := load(text); err != nil {
			// The next change, or the same once more, may do better.
			log.Print(err)
			time.AfterFunc(time.Second, func() { notify(nil) })
			continue
		}
		written = text
	}
}

type lister[T any] func(labels.Selector) ([]T, error)

func load(text string) error {
	command := exec.Command("nft", "-f", "-")
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(text), os.Stdout, os.Stderr
	return command.Run()
}

// Pods that have no address of their own are not filtered: they are the node, or nowhere.
func addressed(pod *core.Pod) bool {
	return pod.Status.PodIP != "" && !pod.Spec.HostNetwork && pod.Status.Phase != core.PodSucceeded && pod.Status.Phase != core.PodFailed
}
