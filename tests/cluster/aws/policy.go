package aws

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"
	"sync"
)

// Policies of a role, which is then judged by them.
type Policies struct {
	Role  string // ARN
	Files []string
}

// policies judge what roles may do. A role that has none may do everything.
type policies struct {
	mutex  sync.Mutex
	ofRole map[string][]permit // by its ARN
}

// permit is a statement of an identity policy, as far as it is judged here:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
type permit struct {
	Sid      string
	Effect   string
	Action   words
	Resource words
}

// match takes the wildcards of policies.
func (w words) match(text string, fold bool) bool {
	for _, pattern := range w {
		expression := regexp.QuoteMeta(pattern)
		expression = strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(expression)
		flags := "(?s)^"
		if fold {
			flags = "(?is)^"
		}
		if matched, err := regexp.MatchString(flags+expression+"$", text); err == nil && matched {
			return true
		}
	}
	return false
}

// readPolicy refuses what it would not judge.
func readPolicy(file string) ([]permit, error) {
	text, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer text.Close()
	var document struct {
		Version   string
		Statement []permit
	}
	decoder := json.NewDecoder(text)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&document); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return document.Statement, nil
}

func (p *policies) set(of Policies) error {
	all := []permit{}
	for _, file := range of.Files {
		some, err := readPolicy(file)
		if err != nil {
			return err
		}
		all = append(all, some...)
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.ofRole == nil {
		p.ofRole = map[string][]permit{}
	}
	p.ofRole[of.Role] = all
	return nil
}

// check says whether somebody may: what is allowed, and not denied. Resources
// are compared where a request's is known here; elsewhere the action decides.
func (p *policies) check(who *Identity, entry *Entry, r *http.Request, body []byte) *refusal {
	p.mutex.Lock()
	statements, judged := p.ofRole[RoleARN(who.Account, who.Role)]
	p.mutex.Unlock()
	if !judged {
		return nil
	}
	asked := permission(who, entry, r, body)
	allowed := false
	for _, one := range statements {
		if !one.Action.match(asked.action, true) || (asked.resource != "" && !one.Resource.match(asked.resource, false)) {
			continue
		}
		if one.Effect != "Allow" {
			allowed = false
			break
		}
		allowed = true
	}
	if allowed {
		return nil
	}
	return refuse("AccessDenied", fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s", who.ARN(), asked.action, asked.resource))
}

// asked is what a request needs: `s3:GetObject`, and on what.
type asked struct{ action, resource string }

func permission(who *Identity, entry *Entry, r *http.Request, body []byte) asked {
	arn := func(name string) string {
		return strings.Join([]string{"arn:aws", entry.Service, entry.Region, who.Account, name}, ":")
	}
	switch entry.Service {
	case "s3":
		return ofS3(r)
	case "eks":
		if cluster, found := strings.CutPrefix(r.URL.Path, "/clusters/"); found && r.Method == http.MethodGet {
			return asked{"eks:DescribeCluster", arn("cluster/" + cluster)}
		}
	case "sqs":
		var queue struct{ QueueName, QueueURL string }
		_ = json.Unmarshal(body, &queue)
		name := queue.QueueName
		if queue.QueueURL != "" {
			name = path.Base(queue.QueueURL)
		}
		if name != "" {
			return asked{"sqs:" + entry.Action, arn(name)}
		}
	case "tagging":
		return asked{"tag:" + entry.Action, "*"}
	}
	return asked{entry.Service + ":" + entry.Action, ""}
}

// ofS3 goes by method, path and what is asked of it: `GET /bucket?versioning`.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
func ofS3(r *http.Request) asked {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	resource := "arn:aws:s3:::" + bucket
	if bucket == "" {
		return asked{"s3:ListAllMyBuckets", "*"}
	}
	query := r.URL.Query()
	if key != "" {
		verbs := map[string]string{"GET": "Get", "HEAD": "Get", "DELETE": "Delete"}
		verb, known := verbs[r.Method]
		if !known {
			verb = "Put"
		}
		return asked{"s3:" + verb + "Object" + part(query, "tagging", "acl"), resource + "/" + key}
	}
	verb := map[string]string{"GET": "Get", "HEAD": "List", "DELETE": "Delete", "PUT": "Put", "POST": "Delete"}[r.Method]
	detail := part(query, "location", "versioning", "policy", "acl", "cors", "website", "accelerate", "requestPayment", "logging",
		"lifecycle", "replication", "encryption", "object-lock", "tagging", "publicAccessBlock", "ownershipControls")
	switch {
	case detail != "":
		return asked{"s3:" + verb + "Bucket" + detail, resource}
	case r.Method == http.MethodPut:
		return asked{"s3:CreateBucket", resource}
	case r.Method == http.MethodPost:
		return asked{"s3:DeleteObject", resource + "/*"}
	case query.Has("versions"):
		return asked{"s3:ListBucketVersions", resource}
	case r.Method == http.MethodDelete:
		return asked{"s3:DeleteBucket", resource}
	}
	return asked{"s3:ListBucket", resource}
}

// part is what of a bucket or an object is asked about, as it is written in the names of actions.
func part(query url.Values, of ...string) string {
	for _, name := range of {
		if query.Has(name) {
			return strings.ToUpper(name[:1]) + name[1:]
		}
	}
	return ""
}
