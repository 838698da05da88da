package aws

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/go-jose/go-jose.v2/jwt"
)

const (
	withWebIdentity = "AssumeRoleWithWebIdentity"
	// Whom a pod's token has to be for.
	audience = "sts.amazonaws.com"
)

// Provider is an OpenID Connect provider of an account: a cluster whose
// service accounts may be trusted by roles.
type Provider struct {
	Account string
	Issuer  string
	KeyFile string // PEM, the public one
}

// name is the issuer as IAM writes it, without the scheme.
func (p *Provider) name() string { return strings.TrimPrefix(p.Issuer, "https://") }

func (p *Provider) arn() string {
	return "arn:aws:iam::" + p.Account + ":oidc-provider/" + p.name()
}

type webIdentityXML struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleWithWebIdentityResponse"`
	Subject   string   `xml:"AssumeRoleWithWebIdentityResult>SubjectFromWebIdentityToken"`
	Audience  string   `xml:"AssumeRoleWithWebIdentityResult>Audience"`
	ARN       string   `xml:"AssumeRoleWithWebIdentityResult>AssumedRoleUser>Arn"`
	RoleID    string   `xml:"AssumeRoleWithWebIdentityResult>AssumedRoleUser>AssumedRoleId"`
	AccessKey string   `xml:"AssumeRoleWithWebIdentityResult>Credentials>AccessKeyId"`
	Secret    string   `xml:"AssumeRoleWithWebIdentityResult>Credentials>SecretAccessKey"`
	Token     string   `xml:"AssumeRoleWithWebIdentityResult>Credentials>SessionToken"`
	Expires   string   `xml:"AssumeRoleWithWebIdentityResult>Credentials>Expiration"`
	ID        string   `xml:"ResponseMetadata>RequestId"`
}

// assumeWithWebIdentity is the one request that nobody signs: the token proves
// who asks, and the role's own trust policy, which is in moto, judges it.
func (s *server) assumeWithWebIdentity(w http.ResponseWriter, body []byte, entry *Entry) *refusal {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return &refusal{"MalformedQueryString", err.Error(), http.StatusBadRequest}
	}
	arn, session := form.Get("RoleArn"), form.Get("RoleSessionName")
	account, role, isRole := strings.Cut(strings.TrimPrefix(arn, "arn:aws:iam::"), ":role/")
	if !isRole || session == "" {
		return &refusal{"ValidationError", "RoleArn and RoleSessionName are required", http.StatusBadRequest}
	}
	provider, claims, err := s.checkToken(form.Get("WebIdentityToken"), time.Now())
	if err != nil {
		return &refusal{"InvalidIdentityToken", err.Error(), http.StatusBadRequest}
	}
	name := role[strings.LastIndex(role, "/")+1:]
	trust, err := s.trustPolicy(account, name, arn)
	if err != nil {
		return &refusal{"InternalFailure", err.Error(), http.StatusInternalServerError}
	}
	if !trust.allows(provider, claims) {
		return refuse("AccessDenied", "Not authorized to perform sts:"+withWebIdentity)
	}
	lasts := time.Hour
	if seconds, err := strconv.Atoi(form.Get("DurationSeconds")); err == nil {
		lasts = time.Duration(seconds) * time.Second
	}
	who := &Identity{Account: account, Role: name, Name: session, Expires: time.Now().Add(lasts).UTC().Truncate(time.Second)}
	who.Issue()
	if err := s.table.put(who); err != nil {
		return &refusal{"InternalFailure", err.Error(), http.StatusInternalServerError}
	}
	entry.AccessKey, entry.ARN, entry.Account = who.AccessKey, who.ARN(), who.Account
	answerXML(w, http.StatusOK, webIdentityXML{
		Subject: claims.Subject, Audience: audience, ARN: who.ARN(), RoleID: who.UserID(), AccessKey: who.AccessKey, Secret: who.Secret,
		Token: who.Token, Expires: who.Expires.Format(time.RFC3339), ID: requestID,
	})
	return nil
}

// checkToken finds the cluster that a token is of, and has its key judge it.
func (s *server) checkToken(text string, now time.Time) (*Provider, *jwt.Claims, error) {
	token, err := jwt.ParseSigned(text)
	if err != nil {
		return nil, nil, fmt.Errorf("the token is none: %w", err)
	}
	var claims jwt.Claims
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return nil, nil, err
	}
	for _, one := range s.config.Providers {
		if one.Issuer != claims.Issuer {
			continue
		}
		key, err := readKey(one.KeyFile)
		if err != nil {
			return nil, nil, err
		}
		if err := token.Claims(key, &claims); err != nil {
			return nil, nil, err
		}
		return one, &claims, claims.Validate(jwt.Expected{Issuer: one.Issuer, Audience: jwt.Audience{audience}, Time: now})
	}
	return nil, nil, fmt.Errorf("No OpenIDConnect provider found in your account for %s", claims.Issuer)
}

func readKey(file string) (any, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM", file)
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

// policy is a trust policy, as far as web identities go.
type policy struct{ Statement []statement }

type statement struct {
	Effect    string
	Action    words
	Principal struct{ Federated words }
	Condition map[string]map[string]words
}

// words is a string or a list of strings: JSON policies have both.
type words []string

func (w *words) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*w = words{one}
		return nil
	}
	var all []string
	err := json.Unmarshal(text, &all)
	*w = all
	return err
}

// allows says whether a statement lets the token's subject in, and none keeps
// it out. A condition that is not known here is one that is not met.
func (p *policy) allows(provider *Provider, claims *jwt.Claims) bool {
	known := map[string]words{provider.name() + ":sub": {claims.Subject}, provider.name() + ":aud": words(claims.Audience)}
	allowed := false
	for _, one := range p.Statement {
		if !slices.Contains(one.Action, "sts:"+withWebIdentity) || !slices.Contains(one.Principal.Federated, provider.arn()) || !one.met(known) {
			continue
		}
		if one.Effect != "Allow" {
			return false
		}
		allowed = true
	}
	return allowed
}

func (s *statement) met(known map[string]words) bool {
	for operator, keys := range s.Condition {
		for key, wanted := range keys {
			if operator != "StringEquals" || !slices.ContainsFunc(known[key], func(value string) bool { return slices.Contains(wanted, value) }) {
				return false
			}
		}
	}
	return true
}

// trustPolicy asks moto, which keeps roles. A role that is not there trusts nobody.
func (s *server) trustPolicy(account, name, arn string) (*policy, error) {
	form := url.Values{"Action": {"GetRole"}, "Version": {"2010-05-08"}, "RoleName": {name}}
	request, err := http.NewRequest(http.MethodPost, s.config.Moto, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Authorization", algorithm+" Credential=judge/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=none")
	request.Header.Set("X-Moto-Account-Id", account)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusNotFound {
		return &policy{}, nil
	}
	var found struct {
		ARN   string `xml:"GetRoleResult>Role>Arn"`
		Trust string `xml:"GetRoleResult>Role>AssumeRolePolicyDocument"`
	}
	if err := xml.Unmarshal(text, &found); err != nil {
		return nil, fmt.Errorf("GetRole: %s: %w", answer.Status, err)
	}
	if found.ARN != arn {
		return &policy{}, nil
	}
	document, err := url.QueryUnescape(found.Trust)
	if err != nil {
		return nil, err
	}
	trust := &policy{}
	return trust, json.Unmarshal([]byte(document), trust)
}
