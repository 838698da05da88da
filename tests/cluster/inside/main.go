package inside

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The supervisor's end of this socket is closed by the kernel when it dies.
const socketFD = 3

// Main waits until it was put into the cluster's cgroups, so that a cgroup
// namespace has them as its root, and goes on as Second.
func Main() {
	ready := make([]byte, 1)
	if _, err := io.ReadFull(os.NewFile(socketFD, "supervisor"), ready); err != nil {
		os.Exit(1)
	}
	// Namespaces belong to threads. The one that calls exec becomes the process.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		fail(err)
	}
	fail(syscall.Exec("/proc/self/exe", []string{os.Args[0] + "-2"}, os.Environ()))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

type first struct {
	out *json.Encoder
	// A process must not be buried before it is known.
	sync.Mutex
}

func Second() {
	syscall.CloseOnExec(socketFD)
	socket := os.NewFile(socketFD, "supervisor")
	f := &first{out: json.NewEncoder(socket)}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	// Ctrl-C is the supervisor's to handle.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	go func() {
		for range children {
			f.bury()
		}
	}()
	in := json.NewDecoder(socket)
	for {
		var r request
		if err := in.Decode(&r); err != nil {
			os.Exit(0)
		}
		f.Lock()
		pid, err := f.do(r)
		answer := reply{ID: r.ID, Pid: pid}
		if err != nil {
			answer.Error = err.Error()
		}
		_ = f.out.Encode(answer)
		f.Unlock()
	}
}

func (f *first) do(r request) (int, error) {
	switch {
	case r.Setup != nil:
		return 0, r.Setup.apply()
	case r.Start != nil:
		return start(r.Start)
	default:
		// Its group: programs here have children of their own.
		return 0, syscall.Kill(-r.Kill, r.Signal)
	}
}

func start(p *Process) (int, error) {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	return syscall.ForkExec(p.Args[0], p.Args, &syscall.ProcAttr{
		Env:   p.Env,
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
}

// Orphans come to the first process too; the supervisor knows its own by pid.
func (f *first) bury() {
	f.Lock()
	defer f.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		_ = f.out.Encode(reply{Pid: pid, Status: int(status)})
	}
}
