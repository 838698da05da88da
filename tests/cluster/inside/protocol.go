// Package inside is the first process in a cluster's namespaces. It starts
// and ends what it is told to over one socket, and dies with it; the kernel
// then ends all that lived in its process namespace, pods included. So nothing
// is left of a cluster whose supervisor was killed.
package inside

import "syscall"

// Setup is the first message: what the namespaces are to look like.
type Setup struct {
	Binds   map[string]string // what is to be seen at a path -> a directory or file of the cluster
	CPUs    int               // as many as the node says it has
	Cgroups []Hierarchy
	Sysctls map[string]string
}

// Hierarchy is one mount of cgroups v1, seen from the cluster's own root.
type Hierarchy struct {
	Name    string // directory below /sys/fs/cgroup
	Options string
}

// Process is a program to start.
type Process struct {
	Name string
	Args []string
	Env  []string
	Log  string
}

type request struct {
	ID    int
	Setup *Setup   `json:",omitempty"`
	Start *Process `json:",omitempty"`
	// A pid and a signal for it.
	Kill   int            `json:",omitempty"`
	Signal syscall.Signal `json:",omitempty"`
}

// A reply to a request, or news of a process that ended (ID is 0).
type reply struct {
	ID     int
	Error  string `json:",omitempty"`
	Pid    int    `json:",omitempty"`
	Status int    `json:",omitempty"`

	ended chan int
}
