// One program for a whole Kubernetes: the upstream components, and the parts
// of our own that make a cluster of them. The first argument chooses, or the
// name it was called by.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"envctl.dev/tests/cluster/aws"
	"envctl.dev/tests/cluster/cluster"
	"envctl.dev/tests/cluster/inside"
	"envctl.dev/tests/cluster/kube"
	"envctl.dev/tests/cluster/kwok"
	"envctl.dev/tests/cluster/netpol"
	"envctl.dev/tests/cluster/podidentity"
	"envctl.dev/tests/cluster/provisioner"
)

var parts = map[string]func(){
	"etcd":                    kube.Etcd,
	"kube-apiserver":          kube.APIServer,
	"kube-controller-manager": kube.ControllerManager,
	"kube-scheduler":          kube.Scheduler,
	"kubelet":                 kube.Kubelet,
	"kube-proxy":              kube.Proxy,
	"kubectl":                 kube.Kubectl,
	"up":                      cluster.Up,
	"down":                    cluster.Down,
	"clean":                   cluster.Clean,
	"ctl":                     cluster.Ctl,
	"load":                    cluster.Load,
	"provisioner":             provisioner.Main,
	"netpol":                  netpol.Main,
	"kwok":                    kwok.Main,
	"pod-identity-webhook":    podidentity.Main,
	"aws":                     aws.Main,
	// The first process of a cluster, before and after it is in its cgroups.
	"inside":   inside.Main,
	"inside-2": inside.Second,
}

func main() {
	name := filepath.Base(os.Args[0])
	if _, known := parts[name]; !known && len(os.Args) > 1 {
		name = os.Args[1]
		// Every part sees its own name in front, as if it were a program.
		os.Args = append([]string{name}, os.Args[2:]...)
	}
	part, known := parts[name]
	if !known {
		names := make([]string, 0, len(parts))
		for name := range parts {
			names = append(names, name)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "usage: %s PART [ARGUMENT]...\nparts: %s\n", filepath.Base(os.Args[0]), strings.Join(names, " "))
		os.Exit(2)
	}
	part()
}
