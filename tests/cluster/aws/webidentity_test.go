package aws

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gopkg.in/go-jose/go-jose.v2"
	"gopkg.in/go-jose/go-jose.v2/jwt"
)

const (
	issuer  = "https://oidc.eks.ap-northeast-1.amazonaws.com/id/A"
	subject = "system:serviceaccount:album-aki:album"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, key *ecdsa.PrivateKey, claims jwt.Claims) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(claims).CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTokens(t *testing.T) {
	key := newKey(t)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sa.pub")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{config: Config{Providers: []*Provider{{Account: "333333333333", Issuer: issuer, KeyFile: file}}}}
	now := time.Now()
	good := jwt.Claims{Issuer: issuer, Subject: subject, Audience: jwt.Audience{audience}, Expiry: jwt.NewNumericDate(now.Add(time.Hour))}
	late, elsewhere, wrong := good, good, good
	late.Expiry = jwt.NewNumericDate(now.Add(-time.Hour))
	elsewhere.Issuer = "https://oidc.eks.ap-northeast-1.amazonaws.com/id/B"
	wrong.Audience = jwt.Audience{"kubernetes"}
	for name, one := range map[string]struct {
		token string
		good  bool
	}{
		"good":             {sign(t, key, good), true},
		"expired":          {sign(t, key, late), false},
		"another issuer":   {sign(t, key, elsewhere), false},
		"another audience": {sign(t, key, wrong), false},
		"another key":      {sign(t, newKey(t), good), false},
		"no token":         {"token", false},
	} {
		if _, _, err := s.checkToken(one.token, now); (err == nil) != one.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTrust(t *testing.T) {
	provider := &Provider{Account: "333333333333", Issuer: issuer}
	claims := &jwt.Claims{Subject: subject, Audience: jwt.Audience{audience}}
	for name, one := range map[string]struct {
		change func(*statement)
		wanted bool
	}{
		"as EKS's documentation has it": {func(*statement) {}, true},
		"any subject":                   {func(s *statement) { delete(s.Condition["StringEquals"], provider.name()+":sub") }, true},
		"another subject": {func(s *statement) {
			s.Condition["StringEquals"][provider.name()+":sub"] = words{"system:serviceaccount:album-yui:album"}
		}, false},
		"another provider":         {func(s *statement) { s.Principal.Federated = words{provider.arn() + "B"} }, false},
		"another action":           {func(s *statement) { s.Action = words{"sts:AssumeRole"} }, false},
		"a condition nobody knows": {func(s *statement) { s.Condition["Bool"] = map[string]words{"aws:SecureTransport": {"true"}} }, false},
		"denied":                   {func(s *statement) { s.Effect = "Deny" }, false},
	} {
		var trust policy
		text := `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
			"Principal": {"Federated": "` + provider.arn() + `"}, "Condition": {"StringEquals": {
			"` + provider.name() + `:sub": "` + subject + `", "` + provider.name() + `:aud": ["sts.amazonaws.com"]}}}]}`
		if err := json.Unmarshal([]byte(text), &trust); err != nil {
			t.Fatal(err)
		}
		one.change(&trust.Statement[0])
		if got := trust.allows(provider, claims); got != one.wanted {
			t.Errorf("%s: %v", name, got)
		}
	}
	if (&policy{}).allows(provider, claims) {
		t.Error("a policy without statements lets in")
	}
}
