package netpol

import (
	"fmt"
	"sort"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// world is all that rules follow from.
type world struct {
	pods       []*core.Pod
	namespaces map[string]labels.Set
	policies   []*networking.NetworkPolicy
}

// direction is a half of every policy. What is peer to one is pod to the other.
type direction struct {
	name       string
	pod, peer  string // fields of a packet
	isolates   func(*networking.NetworkPolicySpec) bool
	rules      func(*networking.NetworkPolicySpec) []rule
	portsOfPod bool // a named port is the pod's, not the peer's
}

type rule struct {
	peers []networking.NetworkPolicyPeer
	ports []networking.NetworkPolicyPort
}

var ingress = direction{
	name: "ingress", pod: "ip daddr", peer: "ip saddr", portsOfPod: true,
	isolates: func(s *networking.NetworkPolicySpec) bool {
		return hasType(s, networking.PolicyTypeIngress) || len(s.PolicyTypes) == 0
	},
	rules: func(s *networking.NetworkPolicySpec) (out []rule) {
		for _, one := range s.Ingress {
			out = append(out, rule{one.From, one.Ports})
		}
		return out
	},
}

var egress = direction{
	name: "egress", pod: "ip saddr", peer: "ip daddr",
	isolates: func(s *networking.NetworkPolicySpec) bool {
		return hasType(s, networking.PolicyTypeEgress) || len(s.PolicyTypes) == 0 && len(s.Egress) > 0
	},
	rules: func(s *networking.NetworkPolicySpec) (out []rule) {
		for _, one := range s.Egress {
			out = append(out, rule{one.To, one.Ports})
		}
		return out
	},
}

func hasType(s *networking.NetworkPolicySpec, kind networking.PolicyType) bool {
	for _, one := range s.PolicyTypes {
		if one == kind {
			return true
		}
	}
	return false
}

// compile gives a table for `nft -f` that replaces the former one at once.
// What leaves a pod is forwarded, or for the node itself; what the node sends
// (kubelet's probes) is never filtered.
func compile(w *world) string {
	var text strings.Builder
	text.WriteString("table inet netpol\ndelete table inet netpol\ntable inet netpol {\n")
	for _, d := range []direction{egress, ingress} {
		jumps := w.chains(&text, d)
		fmt.Fprintf(&text, "chain %s {\n", d.name)
		if len(jumps) > 0 {
			fmt.Fprintf(&text, "%s vmap { %s }\n", d.pod, strings.Join(jumps, ", "))
		}
		text.WriteString("}\n")
	}
	text.WriteString(`chain forward {
type filter hook forward priority 1
ct state established,related accept
jump egress
jump ingress
}
chain input {
type filter hook input priority 1
ct state established,related accept
jump egress
}
}
`)
	return text.String()
}

// chains writes one for every isolated pod; what no rule lets return is dropped.
func (w *world) chains(text *strings.Builder, d direction) (jumps []string) {
	for _, pod := range w.pods {
		var lines []string
		isolated := false
		for _, policy := range w.policies {
			if policy.Namespace != pod.Namespace || !d.isolates(&policy.Spec) || !matches(&policy.Spec.PodSelector, pod.Labels) {
				continue
			}
			isolated = true
			for _, one := range d.rules(&policy.Spec) {
				lines = append(lines, w.allow(d, pod, policy.Namespace, one)...)
			}
		}
		if !isolated {
			continue
		}
		name := d.name + "-" + strings.ReplaceAll(pod.Status.PodIP, ".", "-")
		jumps = append(jumps, pod.Status.PodIP+" : jump "+name)
		fmt.Fprintf(text, "chain %s {\n%s\ndrop\n}\n", name, strings.Join(lines, "\n"))
	}
	return jumps
}

// allow gives the lines of one rule of a policy.
func (w *world) allow(d direction, pod *core.Pod, namespace string, r rule) (lines []string) {
	if len(r.peers) == 0 {
		for _, port := range ports(r.ports, owners(d, pod, nil)) {
			lines = append(lines, port+" return")
		}
	}
	for _, peer := range r.peers {
		if block := peer.IPBlock; block != nil {
			match := d.peer + " " + block.CIDR
			if len(block.Except) > 0 {
				match += " " + d.peer + " != { " + strings.Join(block.Except, ", ") + " }"
			}
			if strings.Contains(block.CIDR, ":") {
				continue
			}
			for _, port := range ports(r.ports, owners(d, pod, nil)) {
				lines = append(lines, match+" "+port+" return")
			}
			continue
		}
		// The same ports may have other numbers in other pods.
		byPort := map[string][]string{}
		for _, other := range w.pods {
			if w.selected(&peer, other, namespace) {
				for _, port := range ports(r.ports, owners(d, pod, other)) {
					byPort[port] = append(byPort[port], other.Status.PodIP)
				}
			}
		}
		for port, addresses := range byPort {
			lines = append(lines, fmt.Sprintf("%s { %s } %s return", d.peer, strings.Join(addresses, ", "), port))
		}
	}
	sort.Strings(lines)
	return lines
}

func owners(d direction, pod, peer *core.Pod) *core.Pod {
	if d.portsOfPod {
		return pod
	}
	return peer
}

func (w *world) selected(peer *networking.NetworkPolicyPeer, pod *core.Pod, home string) bool {
	if peer.NamespaceSelector == nil {
		if pod.Namespace != home {
			return false
		}
	} else if !matches(peer.NamespaceSelector, w.namespaces[pod.Namespace]) {
		return false
	}
	return peer.PodSelector == nil || matches(peer.PodSelector, pod.Labels)
}

func matches(selector *meta.LabelSelector, set labels.Set) bool {
	compiled, err := meta.LabelSelectorAsSelector(selector)
	return err == nil && compiled.Matches(set)
}

// ports gives one match for each port, or an empty one for all.
func ports(wanted []networking.NetworkPolicyPort, owner *core.Pod) (out []string) {
	if len(wanted) == 0 {
		return []string{""}
	}
	for _, one := range wanted {
		protocol := "tcp"
		if one.Protocol != nil {
			protocol = strings.ToLower(string(*one.Protocol))
		}
		switch {
		case one.Port == nil:
			out = append(out, "meta l4proto "+protocol)
		case one.Port.Type == intstr.String:
			if number := named(owner, one.Port.StrVal, protocol); number != 0 {
				out = append(out, fmt.Sprintf("%s dport %d", protocol, number))
			}
		case one.EndPort != nil:
			out = append(out, fmt.Sprintf("%s dport %d-%d", protocol, one.Port.IntVal, *one.EndPort))
		default:
			out = append(out, fmt.Sprintf("%s dport %d", protocol, one.Port.IntVal))
		}
	}
	return out
}

func named(pod *core.Pod, name, protocol string) int32 {
	if pod == nil {
		return 0
	}
	for _, container := range append(append([]core.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
		for _, port := range container.Ports {
			if port.Name == name && strings.EqualFold(string(port.Protocol), protocol) {
				return port.ContainerPort
			}
		}
	}
	return 0
}
