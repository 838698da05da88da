package aws

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// Entry is a line of the log: one request and what became of it.
type Entry struct {
	Time      time.Time `json:"time"`
	Service   string    `json:"service"`
	Region    string    `json:"region"`
	Action    string    `json:"action"`
	Write     bool      `json:"write"`
	AccessKey string    `json:"accessKey,omitempty"`
	ARN       string    `json:"arn,omitempty"`
	Account   string    `json:"account,omitempty"`
	Verdict   string    `json:"verdict"` // "ok", or the code of the error
	Status    int       `json:"status"`
	Presigned bool      `json:"presigned,omitempty"`
	Path      string    `json:"path"`
	UserAgent string    `json:"userAgent,omitempty"`
}

type requestLog struct {
	mutex sync.Mutex
	file  *os.File
}

func (l *requestLog) write(e *Entry) {
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	_, _ = l.file.Write(append(line, '\n'))
}

// action names what a request asks for: by its form, its target header, or its method and path.
func action(r *http.Request, body []byte) string {
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		_, name, _ := strings.Cut(target, ".")
		return name
	}
	if name := r.URL.Query().Get("Action"); name != "" {
		return name
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") != "" {
			return form.Get("Action")
		}
	}
	return r.Method + " " + r.URL.Path
}

// What only looks. All else counts as a write, also what is not known here.
var readers = []string{
	"Get", "List", "Describe", "Head", "Check", "BatchGet", "BatchCheck", "Scan", "Query", "Lookup", "Search", "Select",
	"AssumeRole", "Decode", "Simulate", "GET ", "HEAD ", "OPTIONS ",
}

func writes(action string) bool {
	for _, reader := range readers {
		if strings.HasPrefix(action, reader) {
			return false
		}
	}
	return true
}
