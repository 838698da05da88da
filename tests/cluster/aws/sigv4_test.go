package aws

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Both requests and their signatures are the examples of AWS's own documentation.
const secretOfExamples = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

func signedByHeader() *http.Request {
	r := httptest.NewRequest("GET", "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("X-Amz-Date", "20150830T123600Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, "+
		"Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")
	return r
}

func presigned() *http.Request {
	return httptest.NewRequest("GET", "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"+
		"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404", nil)
}

func judge(t *testing.T, r *http.Request, secret, at string) string {
	t.Helper()
	s, no := parse(r)
	if no != nil {
		return no.code
	}
	now, err := time.Parse(stamp, at)
	if err != nil {
		t.Fatal(err)
	}
	if no := s.verify(r, nil, secret, now); no != nil {
		return no.code
	}
	return "ok"
}

func TestSignatures(t *testing.T) {
	const secretOfS3 = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	changed := signedByHeader()
	changed.URL.RawQuery = strings.Replace(changed.URL.RawQuery, "ListUsers", "ListRoles", 1)
	otherHost := signedByHeader()
	otherHost.Host = "elsewhere.example.com"
	hostless := signedByHeader()
	hostless.Header.Set("Authorization", strings.Replace(hostless.Header.Get("Authorization"), ";host", "", 1))
	unsigned := signedByHeader()
	unsigned.Header.Del("Authorization")
	for name, one := range map[string]struct {
		request            *http.Request
		secret, at, wanted string
	}{
		"header":               {signedByHeader(), secretOfExamples, "20150830T123700Z", "ok"},
		"header, late":         {signedByHeader(), secretOfExamples, "20150830T124200Z", "SignatureDoesNotMatch"},
		"header, early":        {signedByHeader(), secretOfExamples, "20150830T123000Z", "SignatureDoesNotMatch"},
		"header, other secret": {signedByHeader(), "wrong", "20150830T123700Z", "SignatureDoesNotMatch"},
		"another query":        {changed, secretOfExamples, "20150830T123700Z", "SignatureDoesNotMatch"},
		"another host":         {otherHost, secretOfExamples, "20150830T123700Z", "SignatureDoesNotMatch"},
		"host not signed":      {hostless, secretOfExamples, "20150830T123700Z", "SignatureDoesNotMatch"},
		"not signed":           {unsigned, secretOfExamples, "20150830T123700Z", "MissingAuthenticationToken"},
		"presigned":            {presigned(), secretOfS3, "20130524T120000Z", "ok"},
		"presigned, expired":   {presigned(), secretOfS3, "20130525T000001Z", "AccessDenied"},
	} {
		if got := judge(t, one.request, one.secret, one.at); got != one.wanted {
			t.Errorf("%s: %s, not %s", name, got, one.wanted)
		}
	}
}
