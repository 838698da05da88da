package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"envctl.dev/tests/cluster/aws"
)

// mapping says which role becomes which user.
type mapping struct {
	role, username string
	groups         []string
}

func firstMappings() []mapping {
	return []mapping{
		{"Developer", "{{SessionName}}", []string{"envctl:developers"}},
		{"PlatformAdmin", "{{SessionName}}", []string{"envctl:platform"}},
		{"EnvctlGc", "{{SessionName}}", []string{"envctl:gc"}},
	}
}

// firstIdentities are the people. `expired` was somebody an hour ago.
func (c *cluster) firstIdentities() []*aws.Identity {
	day := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	all := []*aws.Identity{
		{Profile: "aki", Role: "Developer", Name: "aki", Expires: day},
		{Profile: "yui", Role: "Developer", Name: "yui", Expires: day},
		{Profile: "platform", Role: "PlatformAdmin", Name: "platform", Expires: day},
		{Profile: "gc", Role: "EnvctlGc", Name: "gc", Expires: day},
		{Profile: "expired", Role: "Developer", Name: "expired", Expires: day.Add(-25 * time.Hour)},
		{Profile: "other", Account: "444444444444", Role: "Developer", Name: "other", Expires: day},
		// A user with a key that does not expire, who is nobody to the cluster.
		{Profile: "ci", Name: "ci"},
	}
	for _, one := range all {
		if one.Account == "" {
			one.Account = c.options.Account
		}
		one.Issue()
	}
	return all
}

func (c *cluster) writeAWS(ca *authority) error {
	c.identities = c.firstIdentities()
	controller := &aws.Identity{Account: c.options.Account, Role: "LoadBalancerController", Name: "controller"}
	controller.Issue()
	c.albcKeys = []string{"AWS_ACCESS_KEY_ID=" + controller.AccessKey, "AWS_SECRET_ACCESS_KEY=" + controller.Secret, "AWS_SESSION_TOKEN=" + controller.Token}
	if err := aws.SaveIdentities(c.dir.at("aws", "identities.json"), append(slices.Clone(c.identities), controller)); err != nil {
		return err
	}
	c.eks = &aws.Cluster{
		Name: c.options.Name, Endpoint: c.endpoint.url, CA: string(ca.pem), Status: "ACTIVE", Issuer: c.issuer(), Version: kubernetes,
		Account: c.options.Account, Region: c.options.Region, Created: time.Now(),
	}
	var roles []string
	for _, one := range c.mappings {
		roles = append(roles, one.role)
	}
	err := writeJSON(c.dir.at("config", "aws.json"), aws.Config{
		Listen: "0.0.0.0:" + awsPort, Admin: awsAdmin, TLS: "127.0.0.1:443", TLSCert: c.dir.at("pki", "aws.crt"), TLSKey: c.dir.at("pki", "aws.key"),
		Identities: c.dir.at("aws", "identities.json"), Log: c.dir.at("logs", "aws.jsonl"), Moto: motoURL,
		Registry: aws.Registry{Endpoint: "http://" + c.registryAddress(), Password: c.registryPassword},
		Clusters: []*aws.Cluster{c.eks}, Roles: roles,
		Providers: []*aws.Provider{{Account: c.options.Account, Issuer: c.issuer(), KeyFile: c.dir.at("pki", "sa.pub")}},
	})
	if err != nil {
		return err
	}
	return c.writeProfiles()
}

// writeProfiles makes the files that AWS's tools read, and a kubeconfig for each profile.
func (c *cluster) writeProfiles() error {
	var config, credentials strings.Builder
	for _, one := range c.identities {
		fmt.Fprintf(&config, "[profile %s]\nregion = %s\noutput = json\nendpoint_url = %s\nsts_regional_endpoints = regional\n\n", one.Profile, c.options.Region, c.awsURL)
		fmt.Fprintf(&credentials, "[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", one.Profile, one.AccessKey, one.Secret)
		if one.Token != "" {
			fmt.Fprintf(&credentials, "aws_session_token = %s\n", one.Token)
		}
		if !one.Expires.IsZero() {
			// Some tools read this one, and refuse what has expired by themselves.
			fmt.Fprintf(&credentials, "x_security_token_expires = %s\n", one.Expires.Format(time.RFC3339))
		}
		credentials.WriteString("\n")
		// A token is a request to the real STS, which is never sent from here.
		variables := list{object{"name": "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "value": "true"}}
		for name, value := range c.environment(one.Profile) {
			variables = append(variables, object{"name": name, "value": value})
		}
		err := c.endpoint.write(c.dir.at(one.Profile+".kubeconfig"), object{"exec": object{
			"apiVersion": "client.authentication.k8s.io/v1beta1", "command": beside("aws-iam-authenticator"),
			"args": list{"token", "-i", c.options.Name}, "env": variables, "interactiveMode": "Never",
		}})
		if err != nil {
			return err
		}
	}
	return writeAll(map[string][]byte{c.dir.at("aws", "config"): []byte(config.String()), c.dir.at("aws", "credentials"): []byte(credentials.String())})
}

// environment is what AWS's tools need to talk to this cluster's double.
func (c *cluster) environment(profile string) map[string]string {
	return map[string]string{
		"AWS_CONFIG_FILE": c.dir.at("aws", "config"), "AWS_SHARED_CREDENTIALS_FILE": c.dir.at("aws", "credentials"),
		"AWS_REGION": c.options.Region, "AWS_STS_REGIONAL_ENDPOINTS": "regional", "AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": profile,
		"AWS_ENDPOINT_URL": c.awsURL,
	}
}
