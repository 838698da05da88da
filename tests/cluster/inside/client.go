package inside

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Room is a running first process, seen by the supervisor.
type Room struct {
	Pid     int // as the machine counts
	command *exec.Cmd
	words   bytes.Buffer
	socket  *os.File
	out     *json.Encoder

	mutex   sync.Mutex
	next    int
	replies map[int]chan reply
	gone    chan struct{}
}

// Open makes the namespaces. Nothing runs in them before Enter.
func Open() (*Room, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "inside")
	defer theirs.Close()
	r := &Room{socket: os.NewFile(uintptr(pair[0]), "inside"), replies: map[int]chan reply{}, gone: make(chan struct{})}
	r.out = json.NewEncoder(r.socket)
	r.command = exec.Command("/proc/self/exe")
	r.command.Args = []string{"inside"}
	r.command.ExtraFiles = []*os.File{theirs}
	r.command.Stderr = &r.words
	r.command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Setsid:     true,
	}
	if err := r.command.Start(); err != nil {
		r.socket.Close()
		return nil, fmt.Errorf("new namespaces: %w", err)
	}
	r.Pid = r.command.Process.Pid
	go r.listen()
	return r, nil
}

// Enter lets the first process go on, after it was put into its cgroups.
func (r *Room) Enter(setup *Setup) error {
	if _, err := r.socket.Write([]byte{'g'}); err != nil {
		return err
	}
	_, err := r.ask(request{Setup: setup})
	return err
}

// Running is a process that was started.
type Running struct {
	room  *Room
	pid   int
	Ended <-chan int // its wait status, once
}

func (r *Room) Start(p *Process) (*Running, error) {
	answer, err := r.ask(request{Start: p})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	return &Running{r, answer.Pid, answer.ended}, nil
}

func (p *Running) Signal(signal syscall.Signal) error {
	_, err := p.room.ask(request{Kill: p.pid, Signal: signal})
	return err
}

var errGone = errors.New("the cluster's first process ended")

func (r *Room) ask(q request) (reply, error) {
	answer := make(chan reply, 1)
	r.mutex.Lock()
	r.next++
	q.ID = r.next
	r.replies[q.ID] = answer
	err := r.out.Encode(q)
	r.mutex.Unlock()
	if err != nil {
		return reply{}, err
	}
	select {
	case a := <-answer:
		if a.Error != "" {
			return a, errors.New(a.Error)
		}
		return a, nil
	case <-r.gone:
		return reply{}, fmt.Errorf("%w: %s", errGone, r.words.String())
	}
}

func (r *Room) listen() {
	defer close(r.gone)
	ended := map[int]chan int{}
	in := json.NewDecoder(r.socket)
	for {
		var a reply
		if err := in.Decode(&a); err != nil {
			if !errors.Is(err, io.EOF) {
				_ = r.command.Process.Kill()
			}
			_ = r.command.Wait()
			return
		}
		r.mutex.Lock()
		switch {
		case a.ID != 0:
			// The news of its end can only come after this.
			if a.Pid != 0 {
				a.ended = make(chan int, 1)
				ended[a.Pid] = a.ended
			}
			r.replies[a.ID] <- a
			delete(r.replies, a.ID)
		case ended[a.Pid] != nil:
			ended[a.Pid] <- a.Status
			delete(ended, a.Pid)
		default: // an orphan
		}
		r.mutex.Unlock()
	}
}

// Gone is closed when the first process, and with it all others, has ended.
func (r *Room) Gone() <-chan struct{} { return r.gone }

// Close ends everything that lives in the namespaces, and waits for that.
func (r *Room) Close() error {
	_ = r.command.Process.Kill()
	select {
	case <-r.gone:
	case <-time.After(20 * time.Second):
		return errors.New("the cluster's processes do not end")
	}
	return r.socket.Close()
}
