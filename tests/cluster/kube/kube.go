// Package kube holds the entries of the upstream programs.
package kube

import (
	"context"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func Etcd()              { etcdmain.Main(os.Args) }
func APIServer()         { run(apiserver.NewAPIServerCommand()) }
func ControllerManager() { run(controllermanager.NewControllerManagerCommand()) }
func Scheduler()         { run(scheduler.NewSchedulerCommand()) }
func Kubelet()           { run(kubelet.NewKubeletCommand(context.Background())) }
func Proxy()             { run(proxy.NewProxyCommand()) }

func Kubectl() {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		// It prints the message that kubectl's users know, and ends.
		kubectlutil.CheckErr(err)
	}
}

func run(command *cobra.Command) { os.Exit(cli.Run(command)) }
