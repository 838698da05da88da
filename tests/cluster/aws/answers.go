package aws

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"strings"
)

const requestID = "11111111-2222-3333-4444-555555555555"

// speaksJSON tells the protocols apart: SDKs send a target header or use REST
// for services with JSON; all others are answered in XML unless JSON is asked for.
func speaksJSON(r *http.Request, service string) bool {
	return r.Header.Get("X-Amz-Target") != "" || service == "eks" || strings.Contains(r.Header.Get("Accept"), "application/json")
}

func answerJSON(w http.ResponseWriter, r *http.Request, status int, value any) {
	kind := "application/json"
	if version := r.Header.Get("Content-Type"); strings.HasPrefix(version, "application/x-amz-json") {
		kind = version
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Amzn-Requestid", requestID)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

func answerXML(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("X-Amzn-Requestid", requestID)
	w.WriteHeader(status)
	_, _ = w.Write([]byte(xml.Header))
	_ = xml.NewEncoder(w).Encode(value)
}

type errorXML struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// S3's has no wrapping.
type s3ErrorXML struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string
	Message   string
	RequestID string `xml:"RequestId"`
}

// Names that services with JSON have for the same refusals.
var jsonCodes = map[string]string{
	"InvalidClientTokenId":       "UnrecognizedClientException",
	"ExpiredToken":               "ExpiredTokenException",
	"SignatureDoesNotMatch":      "InvalidSignatureException",
	"MissingAuthenticationToken": "MissingAuthenticationTokenException",
	"AccessDenied":               "AccessDeniedException",
}

func (no *refusal) answer(w http.ResponseWriter, r *http.Request, service string) {
	switch {
	case service == "s3":
		answerXML(w, no.status, s3ErrorXML{Code: no.code, Message: no.message, RequestID: requestID})
	case service == "sts" && strings.Contains(r.Header.Get("Accept"), "application/json"):
		answerJSON(w, r, no.status, map[string]any{"Error": map[string]any{"Code": no.code, "Message": no.message, "Type": "Sender"}, "RequestId": requestID})
	case speaksJSON(r, service):
		code := no.code
		if other, known := jsonCodes[code]; known {
			code = other
		}
		w.Header().Set("X-Amzn-Errortype", code)
		answerJSON(w, r, no.status, map[string]any{"__type": code, "message": no.message})
	default:
		answerXML(w, no.status, errorXML{Type: "Sender", Code: no.code, Message: no.message, RequestID: requestID})
	}
}
