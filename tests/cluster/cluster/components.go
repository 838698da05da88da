package cluster

import (
	"path/filepath"
	"strings"
)

// program is a component: how it is started, and what it is told.
type program struct {
	args, env []string
}

// command gives the words of a program, or of a part of one, and its flags.
func command(words []string, flags ...string) *program {
	for _, flag := range flags {
		words = append(words, "--"+flag)
	}
	return &program{args: words}
}

func (p *program) with(env ...string) *program { p.env = append(p.env, env...); return p }

// programs lists what runs inside. Ports are the usual ones.
func (c *cluster) programs() map[string]*program {
	node := c.link.node.String()
	pki := func(name string) string { return c.dir.at("pki", name) }
	kubeconfig := func(name string) string { return c.dir.at("config", name+".kubeconfig") }
	part := func(name string, flags ...string) *program {
		return command([]string{"/proc/self/exe", name}, flags...)
	}
	shared := func(path string) string { return filepath.Join(filepath.Dir(beside("")), path) }
	return map[string]*program{
		"etcd": part("etcd",
			"data-dir="+c.dir.at("etcd"), "unsafe-no-fsync", "log-level=warn",
			"listen-client-urls=http://127.0.0.1:2379", "advertise-client-urls=http://127.0.0.1:2379",
			"listen-peer-urls=http://127.0.0.1:2380"),
		"kube-apiserver": part("kube-apiserver",
			"etcd-servers=http://127.0.0.1:2379",
			"bind-address="+node, "advertise-address="+node, "secure-port="+apiPort,
			"tls-cert-file="+pki("apiserver.crt"), "tls-private-key-file="+pki("apiserver.key"),
			"client-ca-file="+pki("ca.crt"), "allow-privileged",
			"authorization-mode=Node,RBAC", "enable-admission-plugins=NodeRestriction",
			"kubelet-certificate-authority="+pki("ca.crt"), "kubelet-preferred-address-types=InternalIP",
			"kubelet-client-certificate="+pki("kubelet-client.crt"), "kubelet-client-key="+pki("kubelet-client.key"),
			"service-account-issuer="+c.issuer(), "service-account-key-file="+pki("sa.pub"),
			"service-account-signing-key-file="+pki("sa.key"), "service-cluster-ip-range="+serviceRange,
			"requestheader-client-ca-file="+pki("front-proxy-ca.crt"), "requestheader-allowed-names=front-proxy-client",
			"requestheader-username-headers=X-Remote-User", "requestheader-group-headers=X-Remote-Group",
			"requestheader-extra-headers-prefix=X-Remote-Extra-",
			"proxy-client-cert-file="+pki("front-proxy-client.crt"), "proxy-client-key-file="+pki("front-proxy-client.key"),
			"audit-policy-file="+c.dir.at("config", "audit.yaml"), "audit-log-path="+c.dir.at("logs", "audit.jsonl"),
			"authentication-token-webhook-config-file="+kubeconfig("webhook"), "authentication-token-webhook-version=v1beta1",
			// Tests change who somebody is.
			"authentication-token-webhook-cache-ttl=1s"),
		"kube-controller-manager": part("kube-controller-manager",
			"kubeconfig="+kubeconfig("controller-manager"), "authentication-kubeconfig="+kubeconfig("controller-manager"),
			"authorization-kubeconfig="+kubeconfig("controller-manager"), "bind-address=127.0.0.1", "leader-elect=false",
			"root-ca-file="+pki("ca.crt"), "service-account-private-key-file="+pki("sa.key"), "use-service-account-credentials",
			"cluster-signing-cert-file="+pki("ca.crt"), "cluster-signing-key-file="+pki("ca.key"),
			"allocate-node-cidrs", "cluster-cidr="+podRange, "service-cluster-ip-range="+serviceRange,
			"kube-api-qps=100", "kube-api-burst=200"),
		"kube-scheduler": part("kube-scheduler",
			"kubeconfig="+kubeconfig("scheduler"), "authentication-kubeconfig="+kubeconfig("scheduler"),
			"authorization-kubeconfig="+kubeconfig("scheduler"), "bind-address=127.0.0.1", "leader-elect=false"),
		"containerd": command([]string{"/usr/bin/containerd"}, "config="+c.dir.at("config", "containerd.toml")),
		"kubelet": part("kubelet",
			"config="+c.dir.at("config", "kubelet.yaml"), "kubeconfig="+kubeconfig("kubelet"), "root-dir="+c.dir.at("kubelet"),
			"cert-dir="+pki("kubelet"), "hostname-override="+nodeName, "node-ip="+node,
			"node-labels=topology.kubernetes.io/region="+c.options.Region+",topology.kubernetes.io/zone="+c.options.Region+"a,node.kubernetes.io/instance-type=test.2xlarge"),
		"kube-proxy":  part("kube-proxy", "config="+c.dir.at("config", "kube-proxy.yaml")),
		"provisioner": part("provisioner", "kubeconfig="+kubeconfig("provisioner"), "root="+c.dir.at("volumes")),
		"netpol":      part("netpol", "kubeconfig="+kubeconfig("netpol")),
		"pod-identity-webhook": part("pod-identity-webhook",
			"kubeconfig="+kubeconfig("pod-identity"), "listen="+node+":"+podIdentityPort, "region="+c.options.Region,
			"tls-cert-file="+pki("pod-identity.crt"), "tls-private-key-file="+pki("pod-identity.key")),
		"aws": command([]string{"/proc/self/exe", "aws", c.dir.at("config", "aws.json")}),
		// Each request says which account it is for: MOTO_ACCOUNT_ID would overrule that.
		"moto": command([]string{shared("venv/bin/python3"), "-m", "moto.server"}, "host=127.0.0.1", "port=5000").
			with("S3_IGNORE_SUBDOMAIN_BUCKETNAME=true", "PYTHONUNBUFFERED=1"),
		"aws-iam-authenticator": command([]string{beside("aws-iam-authenticator"), "server"}, "config="+c.dir.at("config", "authenticator.yaml")).
			with("SSL_CERT_FILE="+pki("aws-ca.crt"), "AWS_REGION="+c.options.Region, "AWS_EC2_METADATA_DISABLED=true"),
		"registry": command([]string{"/usr/bin/docker-registry", "serve", c.dir.at("config", "registry.yaml")}),
		// The last two only when somebody asks for them.
		albcName: command([]string{beside(albcName)},
			"kubeconfig="+kubeconfig("albc"), "cluster-name="+c.options.Name, "aws-region="+c.options.Region, "aws-vpc-id="+c.vpc,
			"aws-api-endpoints=EC2=http://127.0.0.1:"+awsPort+",Elastic Load Balancing v2=http://127.0.0.1:"+awsPort,
			"enable-shield=false", "enable-waf=false", "enable-wafv2=false", "enable-leader-election=false",
			"webhook-cert-dir="+pki("albc"), "webhook-bind-port=9443", "metrics-bind-addr=127.0.0.1:8180", "health-probe-bind-addr=127.0.0.1:61779").
			with("AWS_REGION="+c.options.Region, "AWS_EC2_METADATA_DISABLED=true").with(c.albcKeys...),
		"kwok": part("kwok", "kubeconfig="+kubeconfig("kwok"), "node-ip="+node),
	}
}

// Names that people use for what they may start.
var aliases = map[string]string{"albc": albcName, "apiserver": "kube-apiserver", "authenticator": "aws-iam-authenticator"}

func (c *cluster) issuer() string {
	return "https://oidc.eks." + c.options.Region + ".amazonaws.com/id/" + strings.ToUpper(c.id)
}
