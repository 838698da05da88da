package aws

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm = "AWS4-HMAC-SHA256"
	stamp     = "20060102T150405Z"
	// How far a signer's clock may be off, and how long a presigned request to
	// STS is good for, whatever its X-Amz-Expires says.
	skew        = 5 * time.Minute
	presignedTo = 15 * time.Minute
)

// A signature is what a request says about who signed it.
type signature struct {
	accessKey, day, region, service string
	headers                         []string
	signed                          string
	time                            time.Time
	token                           string
	presigned                       bool
	expires                         time.Duration
}

// refusal is an answer that AWS gives.
type refusal struct {
	code, message string
	status        int
}

func refuse(code, message string) *refusal { return &refusal{code, message, http.StatusForbidden} }

func parse(r *http.Request) (*signature, *refusal) {
	query := r.URL.Query()
	header := r.Header.Get("Authorization")
	var s signature
	var credential, headers, date string
	switch {
	case strings.HasPrefix(header, algorithm+" "):
		for _, part := range strings.Split(strings.TrimPrefix(header, algorithm+" "), ",") {
			key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			switch key {
			case "Credential":
				credential = value
			case "SignedHeaders":
				headers = value
			case "Signature":
				s.signed = value
			}
		}
		date, s.token = r.Header.Get("X-Amz-Date"), r.Header.Get("X-Amz-Security-Token")
	case query.Get("X-Amz-Algorithm") == algorithm:
		s.presigned = true
		credential, headers, s.signed = query.Get("X-Amz-Credential"), query.Get("X-Amz-SignedHeaders"), query.Get("X-Amz-Signature")
		date, s.token = query.Get("X-Amz-Date"), query.Get("X-Amz-Security-Token")
		seconds, err := strconv.Atoi(query.Get("X-Amz-Expires"))
		if err != nil || seconds < 0 || seconds > 604800 {
			return nil, refuse("AuthorizationQueryParametersError", "X-Amz-Expires must be between 0 and 604800")
		}
		s.expires = time.Duration(seconds) * time.Second
	default:
		return nil, refuse("MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	scope := strings.Split(credential, "/")
	if len(scope) != 5 || scope[4] != "aws4_request" {
		return nil, refuse("IncompleteSignature", "Credential must have five elements and end in aws4_request")
	}
	s.accessKey, s.day, s.region, s.service = scope[0], scope[1], scope[2], scope[3]
	s.headers = strings.Split(headers, ";")
	var err error
	if s.time, err = time.Parse(stamp, date); err != nil || !strings.HasPrefix(date, s.day) {
		return nil, refuse("IncompleteSignature", "X-Amz-Date is missing or not that of the credential")
	}
	return &s, nil
}

// verify computes the signature anew, with the secret that only the table and the signer know.
func (s *signature) verify(r *http.Request, body []byte, secret string, now time.Time) *refusal {
	if r.Host != "" && !contains(s.headers, "host") {
		return refuse("SignatureDoesNotMatch", "'Host' must be a signed header")
	}
	hash := payloadHash(r, body, s)
	if hash == "" {
		return refuse("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed")
	}
	canonical := strings.Join([]string{r.Method, s.path(r.URL), canonicalQuery(r.URL.RawQuery), s.canonicalHeaders(r), strings.Join(s.headers, ";"), hash}, "\n")
	scope := strings.Join([]string{s.day, s.region, s.service, "aws4_request"}, "/")
	toSign := strings.Join([]string{algorithm, s.time.Format(stamp), scope, hexHash([]byte(canonical))}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{s.day, s.region, s.service, "aws4_request", toSign} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(key)), []byte(s.signed)) != 1 {
		return refuse("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	age := now.Sub(s.time)
	limit := skew
	if s.presigned {
		limit = s.expires
		if s.service == "sts" {
			limit = presignedTo
		}
	}
	if age > limit || age < -skew {
		message := "Signature expired: " + s.time.Format(stamp) + " is now earlier than " + now.Add(-limit).UTC().Format(stamp)
		if s.presigned && s.service == "s3" {
			return refuse("AccessDenied", "Request has expired")
		}
		return refuse("SignatureDoesNotMatch", message)
	}
	return nil
}

// Only S3 takes a path as it stands on the wire; everywhere else it is encoded once more.
func (s *signature) path(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if s.service == "s3" {
		return path
	}
	return encode(path, true)
}

func (s *signature) canonicalHeaders(r *http.Request) string {
	var text strings.Builder
	for _, name := range s.headers {
		values := r.Header.Values(name)
		switch {
		case name == "host":
			values = []string{r.Host}
		case name == "content-length" && len(values) == 0:
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		}
		trimmed := make([]string, len(values))
		for i, value := range values {
			trimmed[i] = strings.Join(strings.Fields(value), " ")
		}
		text.WriteString(name + ":" + strings.Join(trimmed, ",") + "\n")
	}
	return text.String()
}

func canonicalQuery(raw string) string {
	var pairs []string
	for _, pair := range strings.Split(raw, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, value = decode(key), decode(value)
		if key != "X-Amz-Signature" {
			pairs = append(pairs, encode(key, false)+"="+encode(value, false))
		}
	}
	sort.Strings(pairs)
	return strings.Join(pairs, "&")
}

func decode(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

// payloadHash is empty if the request lies about its body.
func payloadHash(r *http.Request, body []byte, s *signature) string {
	said := r.Header.Get("X-Amz-Content-Sha256")
	computed := hexHash(body)
	switch {
	case said == "" && s.presigned && s.service == "s3":
		return "UNSIGNED-PAYLOAD"
	case said == "":
		return computed
	case said == computed, said == "UNSIGNED-PAYLOAD", strings.HasPrefix(said, "STREAMING-"):
		return said
	default:
		return ""
	}
}

func encode(text string, path bool) string {
	var out strings.Builder
	for i := range len(text) {
		c := text[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.~", c) >= 0, path && c == '/':
			out.WriteByte(c)
		default:
			out.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return out.String()
}

func hexHash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func contains(words []string, word string) bool {
	for _, one := range words {
		if one == word {
			return true
		}
	}
	return false
}
