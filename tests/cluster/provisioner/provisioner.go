// Package provisioner gives claims of a test cluster a directory below the
// cluster's own, and takes it back when the claim's class says so.
package provisioner

import (
	"context"
	"flag"
	"log"
	"os"
	"path/filepath"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
)

// Name is what StorageClasses call it.
const Name = "envctl.dev/directory"

// The controller of claims writes these, the scheduler the second.
const (
	provisionedBy = "volume.kubernetes.io/storage-provisioner"
	selectedNode  = "volume.kubernetes.io/selected-node"
	byUs          = "pv.kubernetes.io/provisioned-by"
)

type provisioner struct {
	client    kubernetes.Interface
	informers informers.SharedInformerFactory
	root      string
}

func Main() {
	kubeconfig := flag.String("kubeconfig", "", "of somebody who may read claims and write volumes")
	root := flag.String("root", "", "directory for the volumes")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	p := &provisioner{client, informers.NewSharedInformerFactory(client, 0), *root}
	done := make(chan struct{})
	go p.follow(p.informers.Core().V1().PersistentVolumeClaims().Informer(), p.claim)
	go p.follow(p.informers.Core().V1().PersistentVolumes().Informer(), p.volume)
	<-done
}

// follow does its work for every object that is new or changed, again after a failure.
func (p *provisioner) follow(informer cache.SharedIndexInformer, work func(context.Context, string) error) {
	todo := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())
	add := func(object any) {
		if key, err := cache.MetaNamespaceKeyFunc(object); err == nil {
			todo.Add(key)
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: add, UpdateFunc: func(_, after any) { add(after) }})
	if err != nil {
		log.Fatal(err)
	}
	p.informers.Start(nil)
	p.informers.WaitForCacheSync(nil)
	for {
		key, _ := todo.Get()
		if err := work(context.Background(), key); err != nil {
			log.Printf("%s: %v", key, err)
			todo.AddRateLimited(key)
		} else {
			todo.Forget(key)
		}
		todo.Done(key)
	}
}

func (p *provisioner) claim(ctx context.Context, key string) error {
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	claim, err := p.informers.Core().V1().PersistentVolumeClaims().Lister().PersistentVolumeClaims(namespace).Get(name)
	if errors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Annotations[provisionedBy] != Name || claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := p.client.StorageV1().StorageClasses().Get(ctx, *claim.Spec.StorageClassName, meta.GetOptions{})
	if err != nil {
		return err
	}
	node := claim.Annotations[selectedNode]
	if *class.VolumeBindingMode == "WaitForFirstConsumer" && node == "" {
		return nil
	}
	volume := "pvc-" + string(claim.UID)
	directory := filepath.Join(p.root, volume)
	if err := os.MkdirAll(directory, 0o777); err != nil {
		return err
	}
	// Whatever the umask: pods of any user write here.
	if err := os.Chmod(directory, 0o777); err != nil {
		return err
	}
	must := core.HostPathDirectory
	_, err = p.client.CoreV1().PersistentVolumes().Create(ctx, &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: volume, Annotations: map[string]string{byUs: Name}},
		Spec: core.PersistentVolumeSpec{
			Capacity:    core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			AccessModes: claim.Spec.AccessModes, VolumeMode: claim.Spec.VolumeMode,
			PersistentVolumeReclaimPolicy: *class.ReclaimPolicy, StorageClassName: class.Name,
			ClaimRef:               &core.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: namespace, Name: name, UID: claim.UID, ResourceVersion: claim.ResourceVersion},
			PersistentVolumeSource: core.PersistentVolumeSource{HostPath: &core.HostPathVolumeSource{Path: directory, Type: &must}},
		},
	}, meta.CreateOptions{})
	if errors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (p *provisioner) volume(ctx context.Context, name string) error {
	volume, err := p.informers.Core().V1().PersistentVolumes().Lister().Get(name)
	if errors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if volume.Annotations[byUs] != Name || volume.Status.Phase != core.VolumeReleased || volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(p.root, name)); err != nil {
		return err
	}
	err = p.client.CoreV1().PersistentVolumes().Delete(ctx, name, meta.DeleteOptions{})
	if errors.IsNotFound(err) {
		return nil
	}
	return err
}
