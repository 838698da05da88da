package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	toolswatch "k8s.io/client-go/tools/watch"
)

const (
	awsAdmin = "127.0.0.1:4567"
	motoURL  = "http://127.0.0.1:5000"
)

// controlPlane ends when the node is ready and DNS answers: both need all that is started here.
func (c *cluster) controlPlane(ctx context.Context) error {
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if err := c.start(name); err != nil {
			return err
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.dir.at("admin.kubeconfig"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 100, 100
	client, err := clientset.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := until(ctx, func() error {
		return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}); err != nil {
		return err
	}
	c.stage("API server")
	// Who would only repeat attempts before this starts now.
	for _, name := range []string{"kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "provisioner", "netpol", "pod-identity-webhook"} {
		if err := c.start(name); err != nil {
			return err
		}
	}
	objects, err := c.firstObjects()
	if err != nil {
		return err
	}
	if err := apply(ctx, config, objects); err != nil {
		return err
	}
	if err := becomes(ctx, client.CoreV1().RESTClient(), "nodes", "", nodeName, &core.Node{}, func(o runtime.Object) bool {
		for _, one := range o.(*core.Node).Status.Conditions {
			if one.Type == core.NodeReady && one.Status == core.ConditionTrue {
				return true
			}
		}
		return false
	}); err != nil {
		return err
	}
	c.stage("node")
	if err := becomes(ctx, client.CoreV1().RESTClient(), "serviceaccounts", "default", "default", &core.ServiceAccount{}, func(runtime.Object) bool { return true }); err != nil {
		return err
	}
	if err := becomes(ctx, client.AppsV1().RESTClient(), "deployments", "kube-system", "coredns", &apps.Deployment{}, func(o runtime.Object) bool {
		return o.(*apps.Deployment).Status.AvailableReplicas > 0
	}); err != nil {
		return err
	}
	resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return c.link.dial(dnsService + ":53") }}
	if err := until(ctx, func() error {
		_, err := resolver.LookupHost(ctx, "kubernetes.default.svc.cluster.local.")
		return err
	}); err != nil {
		return err
	}
	c.stage("DNS")
	return nil
}

// amazon ends when the double and what stands behind it answer.
func (c *cluster) amazon(ctx context.Context) error {
	for _, name := range []string{"aws", "aws-iam-authenticator", "registry", "moto"} {
		if err := c.start(name); err != nil {
			return err
		}
	}
	for _, address := range []string{awsAdmin, "127.0.0.1:443", "127.0.0.1:21362", c.registryAddress(), "127.0.0.1:5000"} {
		if err := c.answers(ctx, address); err != nil {
			return err
		}
	}
	c.stage("AWS")
	return nil
}

// answers waits until somebody listens at an address inside.
func (c *cluster) answers(ctx context.Context, address string) error {
	return until(ctx, func() error {
		connection, err := c.link.dial(address)
		if err == nil {
			connection.Close()
		}
		return err
	})
}

// runtime ends when containerd has the image that pods are held by.
func (c *cluster) runtime(ctx context.Context) error {
	if err := c.filterNode(ctx); err != nil {
		return err
	}
	if err := c.start("containerd"); err != nil {
		return err
	}
	socket := c.seen(containerdAt)
	if err := until(ctx, func() error {
		connection, err := net.Dial("unix", socket)
		if err == nil {
			connection.Close()
		}
		return err
	}); err != nil {
		return err
	}
	image, err := pauseTar()
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.dir.at("run", "pause.tar"), image, 0o600); err != nil {
		return err
	}
	if err := c.once(ctx, "/usr/bin/ctr", "-a", containerdAt, "-n", "k8s.io", "images", "import", "/run/pause.tar"); err != nil {
		return err
	}
	c.stage("containerd")
	return nil
}

// seen is how this machine sees a path of the cluster. It is also short: a
// socket's path must be.
func (c *cluster) seen(path string) string { return fmt.Sprintf("/proc/%d/root%s", c.room.Pid, path) }

func (c *cluster) stage(name string) {
	if os.Getenv("ENVCTL_TEST_CLUSTER_TIMES") != "" {
		say("%5.1f s  %s", time.Since(c.begun).Seconds(), name)
	}
}

// until tries again and again what cannot be waited for: the first answer of
// something that was just started.
func until(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// becomes watches one object until it is as wanted.
func becomes(ctx context.Context, client rest.Interface, resource, namespace, name string, kind runtime.Object, wanted func(runtime.Object) bool) error {
	source := cache.NewListWatchFromClient(client, resource, namespace, fields.OneTermEqualSelector(meta.ObjectNameField, name))
	_, err := toolswatch.UntilWithSync(ctx, source, kind, nil, func(event watch.Event) (bool, error) {
		return event.Type != watch.Deleted && wanted(event.Object), nil
	})
	if err != nil {
		return fmt.Errorf("%s %s: %w", resource, name, err)
	}
	return nil
}

// client is for what listens inside only on loopback.
func (c *cluster) client() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(_ context.Context, _, address string) (net.Conn, error) { return c.link.dial(address) },
	}}
}
