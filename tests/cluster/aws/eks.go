package aws

import (
	"encoding/base64"
	"net/http"
	"strings"
	"time"
)

// Cluster is what DescribeCluster tells about one. Tests replace it to see who believes it.
type Cluster struct {
	Name     string
	Endpoint string
	CA       string // PEM
	Status   string
	Issuer   string
	Version  string
	Account  string
	Region   string
	Created  time.Time
}

func (c *Cluster) describe() map[string]any {
	return map[string]any{
		"name": c.Name, "arn": "arn:aws:eks:" + c.Region + ":" + c.Account + ":cluster/" + c.Name,
		"status": c.Status, "endpoint": c.Endpoint, "version": c.Version,
		"certificateAuthority":    map[string]any{"data": base64.StdEncoding.EncodeToString([]byte(c.CA))},
		"identity":                map[string]any{"oidc": map[string]any{"issuer": c.Issuer}},
		"accessConfig":            map[string]any{"authenticationMode": "API_AND_CONFIG_MAP"},
		"roleArn":                 RoleARN(c.Account, "eks-cluster"),
		"createdAt":               float64(c.Created.Unix()),
		"kubernetesNetworkConfig": map[string]any{"serviceIpv4Cidr": "10.96.0.0/16", "ipFamily": "ipv4"},
		"platformVersion":         "eks.1", "tags": map[string]any{},
	}
}

// eks answers what it knows, and says whether it did.
func (s *server) eks(w http.ResponseWriter, r *http.Request, who *Identity) (*refusal, bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if r.Method != http.MethodGet {
		return nil, false
	}
	if r.URL.Path == "/clusters" {
		names := []string{}
		for _, one := range s.config.Clusters {
			if one.Account == who.Account {
				names = append(names, one.Name)
			}
		}
		answerJSON(w, r, http.StatusOK, map[string]any{"clusters": names})
		return nil, true
	}
	name := strings.TrimPrefix(r.URL.Path, "/clusters/")
	if name == r.URL.Path || strings.Contains(name, "/") {
		return nil, false
	}
	for _, one := range s.config.Clusters {
		if one.Name == name && one.Account == who.Account {
			answerJSON(w, r, http.StatusOK, map[string]any{"cluster": one.describe()})
			return nil, true
		}
	}
	return &refusal{"ResourceNotFoundException", "No cluster found for name: " + name + ".", http.StatusNotFound}, true
}
