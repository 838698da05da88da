package aws

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatPoliciesAllow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.json")
	text := `{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::states/env:/*"},
		{"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::states/env:/production/*"},
		{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::states"},
		{"Effect": "Allow", "Action": "sqs:*Queue", "Resource": "arn:aws:sqs:*:3:album-*"},
		{"Effect": "Allow", "Action": "tag:getresources", "Resource": "*"}
	]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var p policies
	of := Policies{Role: RoleARN("3", "Developer"), Files: []string{file}}
	if err := p.set(of); err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		method, path, service, action, body string
		allowed                             bool
	}{
		{"GET", "/states/env:/aki/x.tfstate", "s3", "", "", true},
		{"PUT", "/states/env:/aki/x.tfstate", "s3", "", "", true},
		{"DELETE", "/states/env:/aki/x.tfstate", "s3", "", "", false},
		{"GET", "/states/x.tfstate", "s3", "", "", false},
		{"GET", "/states/env:/production/x.tfstate", "s3", "", "", false},
		{"GET", "/states?list-type=2&prefix=env%3A%2F", "s3", "", "", true},
		{"HEAD", "/states", "s3", "", "", true},
		{"GET", "/states?versioning", "s3", "", "", false},
		{"PUT", "/states", "s3", "", "", false},
		{"POST", "/", "sqs", "CreateQueue", `{"QueueName": "album-aki"}`, true},
		{"POST", "/", "sqs", "CreateQueue", `{"QueueName": "shop-aki"}`, false},
		{"POST", "/", "sqs", "DeleteQueue", `{"QueueUrl": "http://h/3/album-aki"}`, true},
		{"POST", "/", "sqs", "SendMessage", `{"QueueUrl": "http://h/3/album-aki"}`, false},
		{"POST", "/", "tagging", "GetResources", "{}", true},
		{"POST", "/", "iam", "CreateRole", "", false},
	} {
		r := httptest.NewRequest(one.method, one.path, strings.NewReader(one.body))
		entry := &Entry{Service: one.service, Region: "r", Action: one.action}
		no := p.check(&Identity{Account: "3", Role: "Developer", Name: "aki"}, entry, r, []byte(one.body))
		if (no == nil) != one.allowed {
			t.Errorf("%s %s %s: %v", one.method, one.path, one.action, no)
		}
		if no := p.check(&Identity{Account: "4", Role: "Developer"}, entry, r, nil); no != nil {
			t.Errorf("another account's role of the same name: %v", no)
		}
	}
	if err := os.WriteFile(file, []byte(`{"Statement": [{"Effect": "Allow", "Condition": {}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.set(of); err == nil {
		t.Error("a policy that it would not judge was taken")
	}
}
