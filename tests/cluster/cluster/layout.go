package cluster

import (
	"os"
	"path/filepath"
)

// Fixed inside: every cluster has a network of its own.
const (
	apiPort         = "6443"
	awsPort         = "4566"
	podIdentityPort = "9444"
	podRange        = "10.244.0.0/16"
	serviceRange    = "10.96.0.0/16"
	apiService      = "10.96.0.1"
	dnsService      = "10.96.0.10"
	nodeName        = "node-1"
	nodeCPUs        = 8
	nodeMemory      = 8 << 30
	kubernetes      = "1.35"
	pauseImage      = "envctl.test/pause:1"
	containerdAt    = "/run/containerd/containerd.sock"
	authenticator   = "https://127.0.0.1:21362/authenticate"
)

// dir is the one directory in which all of a cluster is.
type dir string

func (d dir) at(parts ...string) string {
	return filepath.Join(append([]string{string(d)}, parts...)...)
}

func (d dir) make() error {
	for _, name := range []string{"aws", "cni/net.d", "config", "containerd", "dns", "etcd", "kubelet", "logs", "pki", "registry", "run", "varlog", "volumes"} {
		if err := os.MkdirAll(d.at(name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// clear removes all but the logs, and the lock, which whoever clears holds.
func (d dir) clear() error {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if name := entry.Name(); name == "logs" || name == "lock" || name == "up.log" {
			continue
		}
		if err := os.RemoveAll(d.at(entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Programs that were built with this one lie beside it.
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}
