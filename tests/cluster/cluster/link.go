package cluster

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Networks of clusters are cut from the range that is set aside for tests of
// networks, which nobody routes.
var range30 = netip.MustParsePrefix("198.18.0.0/15")

const networks = 1 << (30 - 15)

// A link joins a cluster's network namespace to the machine's. Its device is
// the claim on its network: names of devices are exclusive.
type link struct {
	device       string
	machine      netip.Addr // this machine, seen from the cluster
	node         netip.Addr // the cluster, seen from this machine
	namespace    netns.NsHandle
	namespaceFor int // pid whose namespace that is
}

func newLink(seed string, pid int) (*link, error) {
	hash := fnv.New32a()
	hash.Write([]byte(seed))
	start := hash.Sum32() % networks
	for i := range uint32(64) {
		network := (start + i) % networks
		base := range30.Addr().As4()
		offset := network << 2
		base[1] += byte(offset >> 16)
		base[2], base[3] = byte(offset>>8), byte(offset)
		machine := netip.AddrFrom4(base).Next()
		l := &link{device: fmt.Sprintf("envctl-%04x", network), machine: machine, node: machine.Next(), namespaceFor: pid}
		err := l.claim()
		if errors.Is(err, errTaken) {
			continue
		}
		if err != nil {
			l.remove()
			return nil, err
		}
		return l, nil
	}
	return nil, fmt.Errorf("no network of %s is free", range30)
}

var errTaken = errors.New("taken")

func (l *link) claim() error {
	network := netip.PrefixFrom(l.machine, 30).Masked()
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, route := range routes {
		// A default route overlaps with everything and takes nothing.
		if route.Dst == nil {
			continue
		}
		if ones, _ := route.Dst.Mask.Size(); ones > 0 {
			address, _ := netip.AddrFromSlice(route.Dst.IP.To4())
			if netip.PrefixFrom(address, ones).Overlaps(network) {
				return errTaken
			}
		}
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = l.device
	err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "eth0", PeerNamespace: netlink.NsPid(l.namespaceFor)})
	if errors.Is(err, syscall.EEXIST) {
		return errTaken
	}
	if err != nil {
		return fmt.Errorf("veth %s: %w", l.device, err)
	}
	here, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer here.Close()
	if err := address(here, l.device, l.machine); err != nil {
		return err
	}
	if l.namespace, err = netns.GetFromPid(l.namespaceFor); err != nil {
		return err
	}
	there, err := netlink.NewHandleAt(l.namespace)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := address(there, "eth0", l.node); err != nil {
		return err
	}
	lo, err := there.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := there.LinkSetUp(lo); err != nil {
		return err
	}
	// Nothing beyond this machine is reached, so there is no default route: who
	// tries is told at once. Addresses of services need some route, or what the
	// node itself sends to one fails before it is led to a pod.
	_, services, err := net.ParseCIDR(serviceRange)
	if err != nil {
		return err
	}
	return there.RouteAdd(&netlink.Route{Dst: services, Gw: net.IP(l.machine.AsSlice())})
}

func address(handle *netlink.Handle, device string, address netip.Addr) error {
	link, err := handle.LinkByName(device)
	if err != nil {
		return err
	}
	network := &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(30, 32)}
	if err := handle.AddrAdd(link, &netlink.Addr{IPNet: network}); err != nil {
		return err
	}
	return handle.LinkSetUp(link)
}

// remove takes both ends: neither exists without the other.
func (l *link) remove() {
	removeDevice(l.device)
	if l.namespace > 0 {
		_ = l.namespace.Close()
	}
}

func removeDevice(name string) {
	if link, err := netlink.LinkByName(name); err == nil {
		_ = netlink.LinkDel(link)
	}
}

// within does something with the cluster's network: a socket belongs to the
// namespace in which it was made, whoever uses it afterwards.
func (l *link) within(do func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		if err != nil {
			result <- err
			return
		}
		defer home.Close()
		if err := netns.Set(l.namespace); err != nil {
			result <- err
			return
		}
		err = do()
		// A thread that cannot go back stays locked, and ends with this goroutine.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

func (l *link) listen(address string) (listener net.Listener, err error) {
	err = l.within(func() error {
		listener, err = net.Listen("tcp4", address)
		return err
	})
	return listener, err
}

func (l *link) dial(address string) (connection net.Conn, err error) {
	err = l.within(func() error {
		connection, err = net.Dial("tcp4", address)
		return err
	})
	return connection, err
}
