// Doubles of Terraform providers. They know a few resources of the real ones
// under the same names, and make them at whatever AWS and MySQL they are
// pointed at. One program is all of them: the name it is started under chooses.
package main

import (
	"context"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"

	"envctl.dev/tests/providers/amazon"
	"envctl.dev/tests/providers/mysql"
)

type double struct {
	address string
	version string
	make    func(version string) provider.Provider
}

// The versions are those that the mirror has; scripts/cluster reads them here.
var doubles = map[string]double{
	"aws":   {"hashicorp/aws", "5.100.0", amazon.New},
	"mysql": {"petoju/mysql", "3.0.70", mysql.New},
}

func main() {
	log.SetFlags(0)
	if slices.Equal(os.Args[1:], []string{"list"}) {
		for _, one := range doubles {
			log.SetOutput(os.Stdout)
			log.Printf("%s %s", one.address, one.version)
		}
		return
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(os.Args[0]), "terraform-provider-"), "_")
	one, known := doubles[name]
	if !known {
		log.Fatalf("%s: started as terraform-provider-NAME_vVERSION this is a provider; `list` says which there are", os.Args[0])
	}
	// The real ones speak version 5 as well.
	err := providerserver.Serve(context.Background(), func() provider.Provider { return one.make(one.version) }, providerserver.ServeOpts{
		Address: "registry.terraform.io/" + one.address, ProtocolVersion: 5,
	})
	if err != nil {
		log.Fatal(err)
	}
}
