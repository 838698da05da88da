package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Ready is what DIR/ready says: all that a test needs to know.
type Ready struct {
	Name               string            `json:"name"`
	Region             string            `json:"region"`
	Account            string            `json:"account"`
	Server             string            `json:"server"`
	CA                 string            `json:"ca"`         // file
	Kubeconfig         string            `json:"kubeconfig"` // of an administrator, who is not AWS's
	KubeSystemUID      string            `json:"kubeSystemUid"`
	NodeName           string            `json:"nodeName"`
	NodeAddress        string            `json:"nodeAddress"`
	MachineAddress     string            `json:"machineAddress"` // of this machine, as pods see it
	Registry           string            `json:"registry"`
	RegistryUser       string            `json:"registryUser"`
	RegistryPassword   string            `json:"registryPassword"`
	AWSEndpoint        string            `json:"awsEndpoint"`       // on this machine's loopback
	AWSEndpointInside  string            `json:"awsEndpointInside"` // for pods; this machine reaches it too
	AWSConfigFile      string            `json:"awsConfigFile"`
	AWSCredentialsFile string            `json:"awsCredentialsFile"`
	AWSLog             string            `json:"awsLog"`
	AuditLog           string            `json:"auditLog"`
	ControlSocket      string            `json:"controlSocket"`
	Profiles           []string          `json:"profiles"`
	ProfileKubeconfigs map[string]string `json:"profileKubeconfigs"` // with aws-iam-authenticator
	Authenticator      string            `json:"authenticator"`      // program
	Volumes            string            `json:"volumes"`            // directory of the StorageClasses
	Logs               string            `json:"logs"`               // directory
	Pid                int               `json:"pid"`                // of the supervisor
	NamespacesPid      int               `json:"namespacesPid"`      // for nsenter -t
	Cgroup             string            `json:"cgroup"`
	ReadyAfter         float64           `json:"readyAfterSeconds"`
	Environment        map[string]string `json:"environment"` // for AWS's tools; the profile is for you to choose
}

func (c *cluster) announce() error {
	config, err := clientcmd.BuildConfigFromFlags("", c.dir.at("admin.kubeconfig"))
	if err != nil {
		return err
	}
	client, err := clientset.NewForConfig(config)
	if err != nil {
		return err
	}
	system, err := client.CoreV1().Namespaces().Get(context.Background(), "kube-system", meta.GetOptions{})
	if err != nil {
		return err
	}
	node := c.link.node.String()
	environment := c.environment("")
	delete(environment, "AWS_PROFILE")
	r := Ready{
		Name: c.options.Name, Region: c.options.Region, Account: c.options.Account,
		Server: c.endpoint.url, CA: c.dir.at("pki", "ca.crt"), Kubeconfig: c.dir.at("admin.kubeconfig"), KubeSystemUID: string(system.UID),
		NodeName: nodeName, NodeAddress: node, MachineAddress: c.link.machine.String(),
		Registry: c.registryAddress(), RegistryUser: "AWS", RegistryPassword: c.registryPassword,
		AWSEndpoint: c.awsURL, AWSEndpointInside: "http://" + node + ":" + awsPort,
		AWSConfigFile: c.dir.at("aws", "config"), AWSCredentialsFile: c.dir.at("aws", "credentials"), AWSLog: c.dir.at("logs", "aws.jsonl"),
		AuditLog: c.dir.at("logs", "audit.jsonl"), ControlSocket: c.controlSocket(), ProfileKubeconfigs: map[string]string{},
		Authenticator: beside("aws-iam-authenticator"), Volumes: c.dir.at("volumes"), Logs: c.dir.at("logs"),
		Pid: os.Getpid(), NamespacesPid: c.room.Pid, Cgroup: c.cgroups.name, Environment: environment,
	}
	for _, one := range c.identities {
		r.Profiles = append(r.Profiles, one.Profile)
		r.ProfileKubeconfigs[one.Profile] = c.dir.at(one.Profile + ".kubeconfig")
	}
	r.ReadyAfter = float64(time.Since(c.begun).Round(10*time.Millisecond)) / float64(time.Second)
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	// Whoever sees the file sees all of it.
	if err := os.WriteFile(c.dir.at("ready.new"), append(text, '\n'), 0o600); err != nil {
		return err
	}
	if err := os.Rename(c.dir.at("ready.new"), c.dir.at("ready")); err != nil {
		return err
	}
	line := fmt.Sprintf("ready: cluster %s at %s in %s, after %.1f s\n", c.options.Name, c.endpoint.url, c.dir, r.ReadyAfter)
	fmt.Print(line)
	if number, err := strconv.Atoi(os.Getenv(readyPipe)); err == nil {
		pipe := os.NewFile(uintptr(number), "ready")
		_, _ = pipe.WriteString(line)
		return pipe.Close()
	}
	return nil
}
