package aws

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

type callerXML struct {
	XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	ARN     string   `xml:"GetCallerIdentityResult>Arn"`
	UserID  string   `xml:"GetCallerIdentityResult>UserId"`
	Account string   `xml:"GetCallerIdentityResult>Account"`
	ID      string   `xml:"ResponseMetadata>RequestId"`
}

type assumedXML struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleResponse"`
	ARN       string   `xml:"AssumeRoleResult>AssumedRoleUser>Arn"`
	RoleID    string   `xml:"AssumeRoleResult>AssumedRoleUser>AssumedRoleId"`
	AccessKey string   `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
	Secret    string   `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
	Token     string   `xml:"AssumeRoleResult>Credentials>SessionToken"`
	Expires   string   `xml:"AssumeRoleResult>Credentials>Expiration"`
	ID        string   `xml:"ResponseMetadata>RequestId"`
}

func (s *server) sts(w http.ResponseWriter, r *http.Request, body []byte, who *Identity, action string) *refusal {
	switch action {
	case "GetCallerIdentity":
		if strings.Contains(r.Header.Get("Accept"), "application/json") {
			answerJSON(w, r, http.StatusOK, map[string]any{"GetCallerIdentityResponse": map[string]any{
				"GetCallerIdentityResult": map[string]any{"Account": who.Account, "Arn": who.ARN(), "UserId": who.UserID()},
				"ResponseMetadata":        map[string]any{"RequestId": requestID},
			}})
		} else {
			answerXML(w, http.StatusOK, callerXML{ARN: who.ARN(), UserID: who.UserID(), Account: who.Account, ID: requestID})
		}
		return nil
	case "AssumeRole":
		return s.assumeRole(w, body, who)
	default:
		return &refusal{"InvalidAction", "Could not find operation " + action + " for version 2011-06-15", http.StatusBadRequest}
	}
}

// Every role trusts its own account, and no other.
func (s *server) assumeRole(w http.ResponseWriter, body []byte, who *Identity) *refusal {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return &refusal{"MalformedQueryString", err.Error(), http.StatusBadRequest}
	}
	account, role, isRole := strings.Cut(strings.TrimPrefix(form.Get("RoleArn"), "arn:aws:iam::"), ":role/")
	session := form.Get("RoleSessionName")
	if !isRole || session == "" {
		return &refusal{"ValidationError", "RoleArn and RoleSessionName are required", http.StatusBadRequest}
	}
	if account != who.Account || !s.roleExists(role) {
		return refuse("AccessDenied", "User: "+who.ARN()+" is not authorized to perform: sts:AssumeRole on resource: "+form.Get("RoleArn"))
	}
	lasts := time.Hour
	if seconds, err := strconv.Atoi(form.Get("DurationSeconds")); err == nil {
		lasts = time.Duration(seconds) * time.Second
	}
	new := &Identity{Account: account, Role: role, Name: session, Expires: time.Now().Add(lasts).UTC().Truncate(time.Second)}
	new.Issue()
	if err := s.table.put(new); err != nil {
		return &refusal{"InternalFailure", err.Error(), http.StatusInternalServerError}
	}
	answerXML(w, http.StatusOK, assumedXML{
		ARN: new.ARN(), RoleID: new.UserID(), AccessKey: new.AccessKey, Secret: new.Secret, Token: new.Token,
		Expires: new.Expires.Format(time.RFC3339), ID: requestID,
	})
	return nil
}

func (s *server) roleExists(role string) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return contains(s.config.Roles, role)
}
