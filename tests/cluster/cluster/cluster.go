// Package cluster makes a Kubernetes of processes on this machine, in
// namespaces of their own, and takes it away again.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"envctl.dev/tests/cluster/aws"
	"envctl.dev/tests/cluster/inside"
)

// Options are what `up` is told.
type Options struct {
	Dir, Name, Region, Account string
	Forwards, Publishes        []string
	With                       []string // optional components to start
}

type cluster struct {
	options  Options
	dir      dir
	id       string // random: of cgroups and in names that must not meet
	begun    time.Time
	lock     *os.File
	room     *inside.Room
	cgroups  *cgroups
	link     *link
	ports    *ports
	ca       *authority
	endpoint endpoint

	registryPort, registryPassword string
	awsURL                         string
	eks                            *aws.Cluster
	vpc                            string
	albcKeys                       []string

	// What changes while it runs.
	mutex      sync.Mutex
	mappings   []mapping
	identities []*aws.Identity
	components map[string]*component
	failed     chan error // before it is ready
	closing    bool

	networkDown bool
}

// component is a program that runs, or is to run.
type component struct {
	running *inside.Running
	wanted  bool
	ended   chan struct{}
}

// state is what is needed to clean up after a supervisor that was killed.
type state struct {
	Supervisor int
	Cgroups    []string
	Device     string
}

func (c *cluster) open() error {
	var err error
	if c.room, err = inside.Open(); err != nil {
		return err
	}
	c.cgroups, err = newCgroups("envctl-test-" + c.id)
	if err != nil {
		return err
	}
	if err := c.cgroups.add(c.room.Pid); err != nil {
		return err
	}
	if c.link, err = newLink(string(c.dir), c.room.Pid); err != nil {
		return err
	}
	if err := writeJSON(c.dir.at("state.json"), state{os.Getpid(), c.cgroups.places, c.link.device}); err != nil {
		return err
	}
	c.ports = newPorts(c.link)
	// The port of the registry is the same inside and outside, so that a
	// reference means one thing to Docker and to kubelet.
	if c.registryPort, err = c.ports.publishSame(); err != nil {
		return err
	}
	url, err := c.ports.publish("0", "127.0.0.1:"+awsPort)
	if err != nil {
		return err
	}
	c.awsURL = "http://" + url
	if err := c.writeConfig(); err != nil {
		return err
	}
	for _, name := range []string{"containerd", "etc", "settings"} {
		if err := os.MkdirAll(c.dir.at("run", name), 0o755); err != nil {
			return err
		}
	}
	return c.room.Enter(&inside.Setup{
		CPUs: nodeCPUs, Cgroups: c.cgroups.hierarchies,
		Binds: map[string]string{"/run": c.dir.at("run"), "/var/log": c.dir.at("varlog"), "/etc/hosts": c.dir.at("config", "hosts")},
		Sysctls: map[string]string{
			"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1",
			// Pods' neighbours are the bridge's business.
			"net/ipv4/conf/all/rp_filter": "0",
		},
	})
}

// start runs a component until it is stopped: one that ends by itself is
// started again, as a node would.
func (c *cluster) start(name string) error {
	if other, known := aliases[name]; known {
		name = other
	}
	program, known := c.programs()[name]
	if !known {
		return fmt.Errorf("no such component: %s", name)
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.closing {
		return errors.New("the cluster is being removed")
	}
	if old := c.components[name]; old != nil && old.wanted {
		return nil
	}
	return c.run(name, program)
}

// run is called with the mutex held.
func (c *cluster) run(name string, program *program) error {
	environment := append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + c.dir.at("run")}, program.env...)
	running, err := c.room.Start(&inside.Process{Name: name, Args: program.args, Env: environment, Log: c.logFile(name)})
	if err != nil {
		return err
	}
	one := &component{running: running, wanted: true, ended: make(chan struct{})}
	c.components[name] = one
	go c.watch(name, program, one)
	return nil
}

func (c *cluster) logFile(name string) string { return c.dir.at("logs", name+".log") }

func (c *cluster) watch(name string, program *program, one *component) {
	var status int
	select {
	case status = <-one.running.Ended:
	case <-c.room.Gone():
	}
	close(one.ended)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if !one.wanted || c.closing {
		return
	}
	one.wanted = false
	err := fmt.Errorf("%s ended (%s); the end of %s:\n%s", name, describe(status), c.logFile(name), tail(c.logFile(name), 15))
	select {
	case c.failed <- err:
		return
	default:
	}
	say("%s ended (%s), and is started again", name, describe(status))
	time.AfterFunc(time.Second, func() {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		// Somebody may have started or stopped it meanwhile.
		if c.components[name] == one && !c.closing && !one.wanted {
			if err := c.run(name, program); err != nil {
				say("%v", err)
			}
		}
	})
}

func describe(status int) string {
	wait := syscall.WaitStatus(status)
	if wait.Signaled() {
		return wait.Signal().String()
	}
	return fmt.Sprintf("exit %d", wait.ExitStatus())
}

// stop ends a component, and returns when it has ended.
func (c *cluster) stop(name string) error {
	if other, known := aliases[name]; known {
		name = other
	}
	c.mutex.Lock()
	one := c.components[name]
	if one == nil {
		c.mutex.Unlock()
		return fmt.Errorf("not running: %s", name)
	}
	one.wanted = false
	// A restart that waits finds another one here.
	delete(c.components, name)
	c.mutex.Unlock()
	if err := one.running.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) && err.Error() != syscall.ESRCH.Error() {
		return err
	}
	select {
	case <-one.ended:
		return nil
	case <-time.After(5 * time.Second):
		_ = one.running.Signal(syscall.SIGKILL)
		<-one.ended
		return nil
	}
}

// once runs a program inside to its end, and gives what it wrote if it failed.
func (c *cluster) once(ctx context.Context, args ...string) error {
	log, err := os.CreateTemp(c.dir.at("run"), "once-")
	if err != nil {
		return err
	}
	defer os.Remove(log.Name())
	defer log.Close()
	running, err := c.room.Start(&inside.Process{Name: args[0], Args: args, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, Log: log.Name()})
	if err != nil {
		return err
	}
	select {
	case status := <-running.Ended:
		if status != 0 {
			return fmt.Errorf("%s: %s: %s", args[0], describe(status), tail(log.Name(), 20))
		}
		return nil
	case <-ctx.Done():
		_ = running.Signal(syscall.SIGKILL)
		return ctx.Err()
	}
}

// close takes everything away but the logs.
func (c *cluster) close() error {
	c.mutex.Lock()
	c.closing = true
	c.mutex.Unlock()
	var problems []error
	note := func(err error) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	if c.ports != nil {
		c.ports.close()
	}
	if c.room != nil {
		// All of it at once: pods of a cluster that goes away need no farewell.
		note(c.room.Close())
	}
	if c.link != nil {
		c.link.remove()
	}
	if c.cgroups != nil {
		note(removeCgroups(c.cgroups.places))
	}
	note(c.dir.clear())
	return errors.Join(problems...)
}

func tail(file string, lines int) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	parts := bytes.Split(bytes.TrimRight(text, "\n"), []byte("\n"))
	return string(bytes.Join(parts[max(0, len(parts)-lines):], []byte("\n")))
}

func say(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "cluster: "+format+"\n", arguments...)
}

func missing() error {
	for program, hint := range map[string]string{
		"/usr/bin/containerd": "containerd", "/usr/bin/docker-registry": "docker-registry", "/usr/lib/cni/bridge": "containernetworking-plugins",
		"/usr/sbin/nft": "nftables", "/usr/sbin/iptables": "iptables", "/usr/sbin/conntrack": "conntrack", "/usr/sbin/runc": "runc",
	} {
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("%s is missing: apt-get install %s", program, hint)
		}
	}
	for _, name := range []string{"envctl-test-pause", "envctl-test-coredns", "aws-iam-authenticator"} {
		if _, err := exec.LookPath(beside(name)); err != nil {
			return fmt.Errorf("%s is missing: scripts/cluster build", beside(name))
		}
	}
	return nil
}
