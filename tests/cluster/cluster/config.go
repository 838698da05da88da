package cluster

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"envctl.dev/tests/cluster/aws"
)

// Every write with who made it; what only looks would drown it.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, verbs: [get, list, watch]}
- {level: Metadata}
`

// writeConfig makes all certificates and files.
func (c *cluster) writeConfig() error {
	node := c.link.node.String()
	ca, err := newAuthority("kubernetes")
	if err != nil {
		return err
	}
	frontProxy, err := newAuthority("front-proxy")
	if err != nil {
		return err
	}
	amazon, err := newAuthority("AWS of the tests")
	if err != nil {
		return err
	}
	c.ca = ca
	c.endpoint = endpoint{c.options.Name, "https://" + node + ":" + apiPort, ca.pem}
	pki := func(name string) string { return c.dir.at("pki", name) }
	caKey, err := encodeKey(ca.key)
	if err != nil {
		return err
	}
	public, private, err := newSigner()
	if err != nil {
		return err
	}
	if err := writeAll(map[string][]byte{
		pki("ca.crt"): ca.pem, pki("ca.key"): caKey, pki("front-proxy-ca.crt"): frontProxy.pem, pki("aws-ca.crt"): amazon.pem,
		pki("sa.pub"): public, pki("sa.key"): private,
		c.dir.at("config", "audit.yaml"): []byte(auditPolicy),
		c.dir.at("dns", "hosts"):         nil,
		c.dir.at("config", "hosts"):      []byte("127.0.0.1 localhost\n" + node + " " + nodeName + "\n127.0.0.1 sts.amazonaws.com sts." + c.options.Region + ".amazonaws.com\n"),
		// For pods that ask for the node's own: names of the machine's network mean nothing here.
		c.dir.at("config", "resolv.conf"): []byte("nameserver " + dnsService + "\n"),
	}); err != nil {
		return err
	}
	servers := map[string][]string{
		"apiserver": {"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost", node, apiService, "127.0.0.1"},
		"kubelet":   {nodeName, node}, "pod-identity": {node},
	}
	for name, hosts := range servers {
		one, err := ca.server(hosts...)
		if err != nil {
			return err
		}
		if err := one.write(pki(name)); err != nil {
			return err
		}
	}
	sts, err := amazon.server("sts.amazonaws.com", "sts."+c.options.Region+".amazonaws.com")
	if err != nil {
		return err
	}
	if err := sts.write(pki("aws")); err != nil {
		return err
	}
	proxyClient, err := frontProxy.client("front-proxy-client")
	if err != nil {
		return err
	}
	if err := proxyClient.write(pki("front-proxy-client")); err != nil {
		return err
	}
	kubeletClient, err := ca.client("kube-apiserver-kubelet-client", "system:masters")
	if err != nil {
		return err
	}
	if err := kubeletClient.write(pki("kubelet-client")); err != nil {
		return err
	}
	users := map[string][]string{
		"admin": {"admin", "system:masters"}, "controller-manager": {"system:kube-controller-manager"},
		"scheduler": {"system:kube-scheduler"}, "kube-proxy": {"system:kube-proxy"},
		"kubelet":     {"system:node:" + nodeName, "system:nodes"},
		"provisioner": {"envctl-test:provisioner", "system:masters"}, "netpol": {"envctl-test:netpol", "system:masters"},
		"pod-identity": {"envctl-test:pod-identity", "system:masters"},
		"albc":         {"envctl-test:aws-load-balancer-controller", "system:masters"}, "kwok": {"envctl-test:kwok", "system:masters"},
	}
	for name, user := range users {
		one, err := ca.client(user[0], user[1:]...)
		if err != nil {
			return err
		}
		if err := c.endpoint.write(c.dir.at("config", name+".kubeconfig"), one.user()); err != nil {
			return err
		}
	}
	if err := os.Rename(c.dir.at("config", "admin.kubeconfig"), c.dir.at("admin.kubeconfig")); err != nil {
		return err
	}
	if err := c.writeAuthenticator(); err != nil {
		return err
	}
	if err := c.writeNode(); err != nil {
		return err
	}
	if err := c.writeRegistry(); err != nil {
		return err
	}
	return c.writeAWS(ca)
}

func writeAll(files map[string][]byte) error {
	for path, text := range files {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// writeAuthenticator tells the API server whom to ask about tokens, and that one who is who.
func (c *cluster) writeAuthenticator() error {
	state := c.dir.at("pki", "authenticator")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(state + "/cert.pem"); err != nil {
		own, err := newAuthority("authenticator")
		if err != nil {
			return err
		}
		server, err := own.server("localhost", "127.0.0.1")
		if err != nil {
			return err
		}
		if err := writeAll(map[string][]byte{state + "/cert.pem": append(server.certificate, own.pem...), state + "/key.pem": server.key}); err != nil {
			return err
		}
		webhook := endpoint{"authenticator", authenticator, own.pem}
		if err := webhook.write(c.dir.at("config", "webhook.kubeconfig"), object{}); err != nil {
			return err
		}
	}
	var roles list
	for _, one := range c.mappings {
		roles = append(roles, object{"roleARN": aws.RoleARN(c.options.Account, one.role), "username": one.username, "groups": one.groups})
	}
	return writeJSON(c.dir.at("config", "authenticator.yaml"), object{
		"clusterID": c.options.Name,
		"server":    object{"port": 21362, "address": "127.0.0.1", "hostname": "localhost", "stateDir": state, "kubeconfigPregenerated": true, "mapRoles": roles},
	})
}

func (c *cluster) writeNode() error {
	reserved, err := memoryBeyond(nodeMemory)
	if err != nil {
		return err
	}
	kubelet := object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address":        c.link.node.String(),
		"authentication": object{"anonymous": object{"enabled": false}, "x509": object{"clientCAFile": c.dir.at("pki", "ca.crt")}},
		"tlsCertFile":    c.dir.at("pki", "kubelet.crt"), "tlsPrivateKeyFile": c.dir.at("pki", "kubelet.key"),
		"containerRuntimeEndpoint": "unix://" + containerdAt,
		"clusterDNS":               list{dnsService}, "resolvConf": c.dir.at("config", "resolv.conf"), "clusterDomain": "cluster.local",
		"cgroupDriver": "cgroupfs", "failCgroupV1": false, "enforceNodeAllocatable": list{},
		"systemReserved":      object{"memory": strconv.FormatInt(reserved, 10)},
		"serializeImagePulls": false, "registryPullQPS": 0, "eventRecordQPS": 0, "kubeAPIQPS": 100, "kubeAPIBurst": 200,
		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
		// The disk is the machine's, and may be full of other things.
		"evictionHard": object{"memory.available": "50Mi", "nodefs.available": "100Mi", "nodefs.inodesFree": "1%", "imagefs.available": "100Mi"},
		// Who may use an image is decided when it is pulled: one that was loaded and one that was pulled may be the same.
		"imagePullCredentialsVerificationPolicy": "NeverVerify",
		"nodeStatusUpdateFrequency":              "1s", "syncFrequency": "10s", "maxPods": 250, "failSwapOn": false,
	}
	proxy := object{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": "iptables", "clusterCIDR": podRange, "hostnameOverride": nodeName,
		"clientConnection": object{"kubeconfig": c.dir.at("config", "kube-proxy.kubeconfig")},
		"conntrack":        object{"maxPerCore": 0},
		"iptables":         object{"minSyncPeriod": "100ms"},
	}
	network := object{
		"cniVersion": "0.4.0", "name": "pods",
		"plugins": list{
			object{
				"type": "bridge", "bridge": "pods", "isGateway": true, "ipMasq": true, "hairpinMode": true,
				"ipam": object{"type": "host-local", "dataDir": "/run/cni", "ranges": list{list{object{"subnet": "10.244.0.0/24"}}}, "routes": list{object{"dst": "0.0.0.0/0"}}},
			},
			object{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}
	for path, value := range map[string]any{
		c.dir.at("config", "kubelet.yaml"): kubelet, c.dir.at("config", "kube-proxy.yaml"): proxy, c.dir.at("cni", "net.d", "pods.conflist"): network,
	} {
		if err := writeJSON(path, value); err != nil {
			return err
		}
	}
	registry := c.registryAddress()
	return os.WriteFile(c.dir.at("config", "containerd.toml"), []byte(fmt.Sprintf(`version = 2
root = %q
state = "/run/containerd"
[grpc]
address = %q
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = %q
# Who starts this may lack the right to lower it.
restrict_oom_score_adj = true
max_concurrent_downloads = 8
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = %q
[plugins."io.containerd.grpc.v1.cri".registry.mirrors.%q]
endpoint = ["http://%s"]
# A node's role may pull: this stands for it.
[plugins."io.containerd.grpc.v1.cri".registry.configs.%q.auth]
username = "AWS"
password = %q
`, c.dir.at("containerd"), containerdAt, pauseImage, c.dir.at("cni", "net.d"), registry, registry, registry, c.registryPassword)), 0o600)
}

// memoryBeyond says how much of the machine's memory pods shall not see.
func memoryBeyond(limit int64) (int64, error) {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == "MemTotal:" {
			kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
			// What eviction keeps free is taken from it too.
			return max(0, kilobytes<<10-limit-50<<20), err
		}
	}
	return 0, fmt.Errorf("/proc/meminfo has no MemTotal")
}

func (c *cluster) registryAddress() string { return "127.0.0.1:" + c.registryPort }

func (c *cluster) writeRegistry() error {
	hash, err := bcrypt.GenerateFromPassword([]byte(c.registryPassword), bcrypt.MinCost)
	if err != nil {
		return err
	}
	users := c.dir.at("config", "htpasswd")
	if err := os.WriteFile(users, append([]byte("AWS:"), append(hash, '\n')...), 0o600); err != nil {
		return err
	}
	return writeJSON(c.dir.at("config", "registry.yaml"), object{
		"version": 0.1, "log": object{"level": "info", "accesslog": object{"disabled": false}},
		"storage": object{"filesystem": object{"rootdirectory": c.dir.at("registry")}, "delete": object{"enabled": true}, "maintenance": object{"uploadpurging": object{"enabled": false}}},
		"http":    object{"addr": c.registryAddress(), "secret": c.id},
		"auth":    object{"htpasswd": object{"realm": "registry", "path": users}},
	})
}
