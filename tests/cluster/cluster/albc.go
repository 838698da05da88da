package cluster

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const albcName = "aws-load-balancer-controller"

// startOptional starts any component; what some need beforehand is made first.
func (c *cluster) startOptional(ctx context.Context, name string) error {
	if other, known := aliases[name]; known {
		name = other
	}
	if _, err := os.Stat(beside(name)); err != nil && name == albcName {
		return fmt.Errorf("%s is missing: scripts/cluster build %s", beside(name), name)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if name != albcName {
		if err := c.start(name); err != nil {
			return err
		}
		if name == "kube-apiserver" {
			return c.answers(ctx, c.link.node.String()+":"+apiPort)
		}
		return nil
	}
	if c.vpc == "" {
		vpc, err := c.makeVPC(ctx)
		if err != nil {
			return err
		}
		if err := c.installController(ctx); err != nil {
			return err
		}
		c.vpc = vpc
	}
	if err := c.start(name); err != nil {
		return err
	}
	return c.answers(ctx, c.link.node.String()+":9443")
}

// makeVPC makes what load balancers stand in: two public subnets and two
// private ones, which say what they are for.
func (c *cluster) makeVPC(ctx context.Context) (string, error) {
	vpc, err := c.ec2("vpcId", "CreateVpc", "CidrBlock", "10.0.0.0/16")
	if err != nil {
		return "", err
	}
	gateway, err := c.ec2("internetGatewayId", "CreateInternetGateway")
	if err != nil {
		return "", err
	}
	if _, err := c.ec2("", "AttachInternetGateway", "InternetGatewayId", gateway, "VpcId", vpc); err != nil {
		return "", err
	}
	table, err := c.ec2("routeTableId", "CreateRouteTable", "VpcId", vpc)
	if err != nil {
		return "", err
	}
	if _, err := c.ec2("", "CreateRoute", "RouteTableId", table, "DestinationCidrBlock", "0.0.0.0/0", "GatewayId", gateway); err != nil {
		return "", err
	}
	for i, one := range []struct{ zone, role string }{{"a", "elb"}, {"c", "elb"}, {"a", "internal-elb"}, {"c", "internal-elb"}} {
		subnet, err := c.ec2("subnetId", "CreateSubnet", "VpcId", vpc, "CidrBlock", fmt.Sprintf("10.0.%d.0/24", i), "AvailabilityZone", c.options.Region+one.zone)
		if err != nil {
			return "", err
		}
		if i == 0 {
			if err := c.makeInstance(ctx, subnet); err != nil {
				return "", err
			}
		}
		if one.role == "elb" {
			if _, err := c.ec2("", "AssociateRouteTable", "RouteTableId", table, "SubnetId", subnet); err != nil {
				return "", err
			}
		}
		if _, err := c.ec2("", "CreateTags", "ResourceId.1", subnet, "Tag.1.Key", "kubernetes.io/role/"+one.role, "Tag.1.Value", "1",
			"Tag.2.Key", "kubernetes.io/cluster/"+c.options.Name, "Tag.2.Value", "shared"); err != nil {
			return "", err
		}
	}
	return vpc, nil
}

// makeInstance makes the machine that the node is, as AWS has it: targets of
// load balancers are instances, unless one asks for addresses.
func (c *cluster) makeInstance(ctx context.Context, subnet string) error {
	instance, err := c.ec2("instanceId", "RunInstances", "ImageId", "ami-12345678", "InstanceType", "m5.2xlarge", "MinCount", "1", "MaxCount", "1", "SubnetId", subnet)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.dir.at("admin.kubeconfig"))
	if err != nil {
		return err
	}
	client, err := clientset.NewForConfig(config)
	if err != nil {
		return err
	}
	patch := fmt.Sprintf(`{"spec":{"providerID":"aws:///%sa/%s"}}`, c.options.Region, instance)
	_, err = client.CoreV1().Nodes().Patch(ctx, nodeName, types.MergePatchType, []byte(patch), meta.PatchOptions{})
	return err
}

// ec2 asks moto itself, which checks no signature. It gives the first element of that name in the answer.
func (c *cluster) ec2(wanted, action string, pairs ...string) (string, error) {
	form := url.Values{"Action": {action}, "Version": {"2016-11-15"}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	request, err := http.NewRequest(http.MethodPost, motoURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=setup/20260101/"+c.options.Region+"/ec2/aws4_request, SignedHeaders=host, Signature=none")
	request.Header.Set("X-Moto-Account-Id", c.options.Account)
	answer, err := c.client().Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s: %s", action, answer.Status, text)
	}
	if wanted == "" {
		return "", nil
	}
	found := regexp.MustCompile("<" + wanted + ">([^<]+)<").FindSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("%s: no %s in %s", action, wanted, text)
	}
	return string(found[1]), nil
}

// installController writes what the controller's own sources say: its kinds
// and its webhooks. It is no pod here, so the webhooks are at the node.
func (c *cluster) installController(ctx context.Context) error {
	shared := filepath.Join(filepath.Dir(beside("")), "share", albcName)
	var objects []*unstructured.Unstructured
	for _, name := range []string{"crds.yaml", "webhooks.yaml"} {
		file, err := os.Open(filepath.Join(shared, name))
		if err != nil {
			return err
		}
		some, err := decode(file)
		file.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", file.Name(), err)
		}
		objects = append(objects, some...)
	}
	own, err := newAuthority(albcName)
	if err != nil {
		return err
	}
	server, err := own.server(c.link.node.String())
	if err != nil {
		return err
	}
	place := c.dir.at("pki", "albc")
	if err := os.MkdirAll(place, 0o700); err != nil {
		return err
	}
	if err := writeAll(map[string][]byte{place + "/tls.crt": server.certificate, place + "/tls.key": server.key}); err != nil {
		return err
	}
	for _, one := range objects {
		if strings.HasSuffix(one.GetKind(), "WebhookConfiguration") {
			one.SetName(albcName)
			c.moveWebhooks(one, own)
		}
	}
	objects = append(objects, &unstructured.Unstructured{Object: object{
		"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": object{"name": "alb"}, "spec": object{"controller": "ingress.k8s.aws/alb"},
	}})
	config, err := clientcmd.BuildConfigFromFlags("", c.dir.at("admin.kubeconfig"))
	if err != nil {
		return err
	}
	return apply(ctx, config, objects)
}

// moveWebhooks points them at the node. Those for pods are left out, and those
// for Services let pass while the controller is stopped: else nothing could be
// made in the meantime.
func (c *cluster) moveWebhooks(configuration *unstructured.Unstructured, own *authority) {
	var kept list
	for _, one := range configuration.Object["webhooks"].(list) {
		webhook := one.(object)
		resources := fmt.Sprint(webhook["rules"])
		if strings.Contains(resources, "pods") {
			continue
		}
		if strings.Contains(resources, "services") {
			webhook["failurePolicy"] = "Ignore"
		}
		service := webhook["clientConfig"].(object)["service"].(object)
		webhook["clientConfig"] = object{
			"url": "https://" + c.link.node.String() + ":9443" + service["path"].(string), "caBundle": base64.StdEncoding.EncodeToString(own.pem),
		}
		kept = append(kept, webhook)
	}
	configuration.Object["webhooks"] = kept
}
