// CoreDNS with no more than a cluster's DNS needs: a quarter of the size, and of the time to build it.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

// The order in which plugins see a request: what nobody knows is the template's.
func init() {
	dnsserver.Directives = []string{"ready", "errors", "hosts", "kubernetes", "template"}
}

func main() { coremain.Run() }
