// Package aws is the AWS that a test cluster's users see. What judges who may
// do something is its own and checks signatures and policies: STS,
// DescribeCluster of EKS, and the login to ECR. All else goes to moto, which
// believes everybody, after the same was checked here.
package aws

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"time"
)

// Config is read once, at the start.
type Config struct {
	Listen     string // plain HTTP, for everybody
	Admin      string // changes what is known here, for the supervisor
	TLS        string // as AWS itself, for who must have the real names
	TLSCert    string
	TLSKey     string
	Identities string // file
	Log        string // file
	Moto       string // URL
	Registry   Registry
	Clusters   []*Cluster
	Roles      []string // that can be assumed
	Providers  []*Provider
}

type server struct {
	mutex    sync.Mutex // of what can be changed in config
	config   Config
	original []*Cluster
	table    *table
	log      requestLog
	moto     *httputil.ReverseProxy
	buckets  buckets
	policies policies
}

// Main takes one argument, a file with the configuration.
func Main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: aws CONFIG")
	}
	log.Fatal(run(os.Args[1]))
}

func run(file string) error {
	s := &server{}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &s.config); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	s.original = s.config.Clusters
	if s.table, err = loadTable(s.config.Identities); err != nil {
		return err
	}
	if s.log.file, err = os.OpenFile(s.config.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return err
	}
	target, err := url.Parse(s.config.Moto)
	if err != nil {
		return err
	}
	s.moto = &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Host = p.In.Host
		},
		ErrorLog: log.Default(),
	}
	ended := make(chan error)
	serve := func(listen func() error) { go func() { ended <- listen() }() }
	serve(func() error { return http.ListenAndServe(s.config.Admin, s.admin()) })
	serve(func() error { return http.ListenAndServe(s.config.Listen, s) })
	serve(func() error { return http.ListenAndServeTLS(s.config.TLS, s.config.TLSCert, s.config.TLSKey, s) })
	return <-ended
}

// recorder keeps the status for the log.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Flush() { r.ResponseWriter.(http.Flusher).Flush() }

func (s *server) ServeHTTP(plain http.ResponseWriter, r *http.Request) {
	w := &recorder{plain, http.StatusOK}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	entry := &Entry{Time: time.Now().UTC(), Action: action(r, body), Path: r.URL.Path, UserAgent: r.UserAgent(), Verdict: "ok"}
	entry.Write = writes(entry.Action)
	// An answer is sent when its handler has returned, long ones apart. So who
	// got one finds it in the log.
	defer func() {
		entry.Status = w.status
		s.log.write(entry)
	}()
	no := s.handle(w, r, body, entry)
	if no != nil {
		entry.Verdict = no.code
		no.answer(w, r, entry.Service)
	}
}

func (s *server) handle(w *recorder, r *http.Request, body []byte, entry *Entry) *refusal {
	if entry.Action == withWebIdentity {
		entry.Service = "sts"
		return s.assumeWithWebIdentity(w, body, entry)
	}
	signature, no := parse(r)
	if no != nil {
		return no
	}
	entry.Service, entry.Region, entry.AccessKey, entry.Presigned = signature.service, signature.region, signature.accessKey, signature.presigned
	who := s.table.get(signature.accessKey)
	if who == nil {
		return refuse("InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	if no := signature.verify(r, body, who.Secret, time.Now()); no != nil {
		return no
	}
	if signature.token != who.Token {
		return refuse("InvalidClientTokenId", "The security token included in the request is invalid")
	}
	entry.ARN, entry.Account = who.ARN(), who.Account
	if !who.Expires.IsZero() && !time.Now().Before(who.Expires) {
		return refuse("ExpiredToken", "The security token included in the request is expired")
	}
	// Nobody needs a right to ask who they are.
	if entry.Service != "sts" {
		if no := s.policies.check(who, entry, r, body); no != nil {
			return no
		}
	}
	switch {
	case entry.Service == "sts":
		return s.sts(w, r, body, who, entry.Action)
	case entry.Service == "ecr" && entry.Action == "GetAuthorizationToken":
		s.ecrToken(w, r)
		return nil
	case entry.Service == "eks":
		if no, known := s.eks(w, r, who); known {
			return no
		}
	}
	if entry.Service == "s3" {
		if no := s.buckets.check(r); no != nil {
			return no
		}
	}
	// moto keeps accounts apart by this.
	r.Header.Set("X-Moto-Account-Id", who.Account)
	s.moto.ServeHTTP(w, r)
	if w.status >= http.StatusBadRequest {
		entry.Verdict = http.StatusText(w.status)
	} else if entry.Service == "s3" {
		s.buckets.made(r, who.Account)
	}
	return nil
}
