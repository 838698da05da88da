package cluster

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
)

// ports joins addresses of the two sides. A listener keeps the side on which
// it was made, and each connection through it is dialled on the other.
type ports struct {
	link  *link
	mutex sync.Mutex
	open  map[string]*joint
}

type joint struct {
	listener net.Listener
	From     string `json:"from"`
	To       string `json:"to"`
	Side     string `json:"side"` // "inside" if it listens there
}

func newPorts(l *link) *ports { return &ports{link: l, open: map[string]*joint{}} }

// forward lets pods reach an address of this machine, its loopback included.
func (p *ports) forward(port, to string) (string, error) {
	listener, err := p.link.listen(net.JoinHostPort(p.link.node.String(), port))
	if err != nil {
		return "", err
	}
	return p.join(listener, "inside", to, func() (net.Conn, error) { return net.Dial("tcp", to) }), nil
}

// publish lets this machine reach an address inside, through a loopback port.
func (p *ports) publish(port, to string) (string, error) {
	if !strings.Contains(to, ":") {
		to = net.JoinHostPort(p.link.node.String(), to)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:"+port)
	if err != nil {
		return "", err
	}
	return p.join(listener, "outside", to, func() (net.Conn, error) { return p.link.dial(to) }), nil
}

// publishSame takes a free port of this machine and leads it to the same one inside.
func (p *ports) publishSame() (string, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	to := listener.Addr().String()
	p.join(listener, "outside", to, func() (net.Conn, error) { return p.link.dial(to) })
	_, port, err := net.SplitHostPort(to)
	return port, err
}

func (p *ports) join(listener net.Listener, side, to string, dial func() (net.Conn, error)) string {
	from := listener.Addr().String()
	p.mutex.Lock()
	p.open[from] = &joint{listener, from, to, side}
	p.mutex.Unlock()
	go func() {
		for {
			connection, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			go carry(connection, dial)
		}
	}()
	return from
}

// carry copies both ways. What is refused there is reset here, as if there were no one between.
func carry(near net.Conn, dial func() (net.Conn, error)) {
	defer near.Close()
	far, err := dial()
	if err != nil {
		_ = near.(*net.TCPConn).SetLinger(0)
		return
	}
	defer far.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			_, err := io.Copy(way[1], way[0])
			if errors.Is(err, syscall.ECONNRESET) {
				_ = way[1].(*net.TCPConn).SetLinger(0)
			}
			_ = way[1].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
}

func (p *ports) remove(from string) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	one := p.open[from]
	if one == nil {
		return fmt.Errorf("nothing listens for the cluster at %s", from)
	}
	delete(p.open, from)
	return one.listener.Close()
}

func (p *ports) list() []*joint {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	all := make([]*joint, 0, len(p.open))
	for _, one := range p.open {
		all = append(all, one)
	}
	return all
}

func (p *ports) close() {
	for _, one := range p.list() {
		_ = one.listener.Close()
	}
}
