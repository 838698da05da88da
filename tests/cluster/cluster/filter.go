package cluster

import (
	"context"
	"os"
)

// filterNode writes what the node itself filters. An address of a service that
// does not exist must not leave the cluster: it is refused at once. With the
// network down nothing passes the link, silently, as when a cable is cut.
func (c *cluster) filterNode(ctx context.Context) error {
	const head = `table inet node
delete table inet node
table inet node {
chain output { type filter hook output priority 10
ip daddr ` + serviceRange + ` oifname "eth0" reject
}
chain forward { type filter hook forward priority 10
ip daddr ` + serviceRange + ` oifname "eth0" reject
}
`
	text := head
	if c.networkDown {
		text += `chain cut-in { type filter hook prerouting priority -400
iifname "eth0" drop
}
chain cut-out { type filter hook postrouting priority 400
oifname "eth0" drop
}
`
	}
	file := c.dir.at("run", "node.nft")
	if err := os.WriteFile(file, []byte(text+"}\n"), 0o600); err != nil {
		return err
	}
	return c.once(ctx, "/usr/sbin/nft", "-f", "/run/node.nft")
}
