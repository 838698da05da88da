package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"envctl.dev/tests/cluster/aws"
)

// controlServer is what tests change a running cluster with: POST /VERB with
// an object of strings, over a Unix socket.
type controlServer struct {
	http     *http.Server
	shutdown chan struct{}
}

func (c *cluster) controlSocket() string { return c.dir.at("control.sock") }

// said is what a verb is told.
type said map[string]string

func (c *cluster) serveControl() (*controlServer, error) {
	listener, err := net.Listen("unix", c.controlSocket())
	if err != nil {
		return nil, fmt.Errorf("%w (a socket's path has at most 107 characters: choose a shorter --dir)", err)
	}
	server := &controlServer{shutdown: make(chan struct{})}
	mux := http.NewServeMux()
	for name, verb := range c.verbs(server) {
		mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
			told := said{}
			if err := json.NewDecoder(r.Body).Decode(&told); err != nil && err != io.EOF {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			answer, err := verb(r.Context(), told)
			if err != nil {
				http.Error(w, err.Error(), http.StatusUnprocessableEntity)
				return
			}
			if answer == nil {
				answer = object{}
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	server.http = &http.Server{Handler: mux}
	go func() { _ = server.http.Serve(listener) }()
	return server, nil
}

// close lets the answer to `shutdown` out, which comes when all is gone.
func (s *controlServer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.http.Shutdown(ctx)
}

type verb func(context.Context, said) (any, error)

func (c *cluster) verbs(server *controlServer) map[string]verb {
	var once sync.Once
	return map[string]verb{
		"status": func(context.Context, said) (any, error) { return c.status(), nil },
		"start": func(ctx context.Context, told said) (any, error) {
			return nil, c.startOptional(ctx, told["name"])
		},
		"stop": func(_ context.Context, told said) (any, error) { return nil, c.stop(told["name"]) },
		"restart": func(_ context.Context, told said) (any, error) {
			if err := c.stop(told["name"]); err != nil {
				return nil, err
			}
			return nil, c.start(told["name"])
		},
		"forward": func(_ context.Context, told said) (any, error) {
			from, err := c.ports.forward(or(told["port"], "0"), told["to"])
			return object{"address": from}, err
		},
		"publish": func(_ context.Context, told said) (any, error) {
			from, err := c.ports.publish(or(told["port"], "0"), told["to"])
			return object{"address": from}, err
		},
		"close": func(_ context.Context, told said) (any, error) { return nil, c.ports.remove(told["address"]) },
		"network": func(ctx context.Context, told said) (any, error) {
			if told["state"] != "up" && told["state"] != "down" {
				return nil, fmt.Errorf("state is up or down")
			}
			c.networkDown = told["state"] == "down"
			return nil, c.filterNode(ctx)
		},
		"dns": func(_ context.Context, told said) (any, error) {
			return nil, appendLine(c.dir.at("dns", "hosts"), told["address"]+" "+told["name"])
		},
		"user": func(_ context.Context, told said) (any, error) {
			file := c.dir.at("user-" + told["name"] + ".kubeconfig")
			one, err := c.ca.client(told["name"], split(told["groups"])...)
			if err != nil {
				return nil, err
			}
			return object{"kubeconfig": file}, c.endpoint.write(file, one.user())
		},
		"identity": func(_ context.Context, told said) (any, error) { return c.addIdentity(told) },
		"policy":   func(_ context.Context, told said) (any, error) { return nil, c.setPolicies(told) },
		"map":      func(_ context.Context, told said) (any, error) { return nil, c.addMapping(told) },
		"eks":      func(_ context.Context, told said) (any, error) { return nil, c.describe(told) },
		"shutdown": func(context.Context, said) (any, error) {
			once.Do(func() { close(server.shutdown) })
			return nil, nil
		},
	}
}

func (c *cluster) status() any {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	running := []string{}
	for name, one := range c.components {
		if one.wanted {
			running = append(running, name)
		}
	}
	sort.Strings(running)
	return object{"running": running, "ports": c.ports.list(), "networkDown": c.networkDown}
}

// addIdentity makes somebody new, for as long as is said: profile, role or
// none for a user, name (of the session), account, lasts (a duration).
func (c *cluster) addIdentity(told said) (any, error) {
	one := &aws.Identity{Profile: told["profile"], Account: or(told["account"], c.options.Account), Role: told["role"], Name: or(told["name"], told["profile"])}
	if one.Profile == "" || strings.ContainsAny(one.Profile, "/[]\n") {
		return nil, fmt.Errorf("a profile is needed")
	}
	if told["lasts"] != "" {
		lasts, err := time.ParseDuration(told["lasts"])
		if err != nil {
			return nil, err
		}
		one.Expires = time.Now().Add(lasts).UTC()
	}
	one.Issue()
	if err := c.askAWS(http.MethodPost, "/identities", one); err != nil {
		return nil, err
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	kept := []*aws.Identity{one}
	for _, other := range c.identities {
		if other.Profile != one.Profile {
			kept = append(kept, other)
		}
	}
	c.identities = kept
	return object{
		"accessKeyId": one.AccessKey, "secretAccessKey": one.Secret, "sessionToken": one.Token, "expires": one.Expires, "arn": one.ARN(),
		"kubeconfig": c.dir.at(one.Profile + ".kubeconfig"),
	}, c.writeProfiles()
}

// setPolicies has a role judged by identity policies: role, files (separated by commas).
func (c *cluster) setPolicies(told said) error {
	role := aws.RoleARN(c.options.Account, told["role"])
	return c.askAWS(http.MethodPut, "/policies", aws.Policies{Role: role, Files: split(told["files"])})
}

// addMapping lets a role of AWS be somebody in the cluster: role, username, groups.
func (c *cluster) addMapping(told said) error {
	c.mutex.Lock()
	kept := []mapping{{told["role"], or(told["username"], "{{SessionName}}"), split(told["groups"])}}
	for _, other := range c.mappings {
		if other.role != told["role"] {
			kept = append(kept, other)
		}
	}
	c.mappings = kept
	c.mutex.Unlock()
	if err := c.writeAuthenticator(); err != nil {
		return err
	}
	if err := c.stop("aws-iam-authenticator"); err != nil {
		return err
	}
	if err := c.start("aws-iam-authenticator"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return c.answers(ctx, "127.0.0.1:21362")
}

// describe changes what DescribeCluster tells: endpoint, ca (a file), status,
// name. Without any it tells the truth again.
func (c *cluster) describe(told said) error {
	if len(told) == 0 {
		return c.askAWS(http.MethodPut, "/clusters", []*aws.Cluster{})
	}
	lie := *c.eks
	lie.Endpoint, lie.Status, lie.Name = or(told["endpoint"], lie.Endpoint), or(told["status"], lie.Status), or(told["name"], lie.Name)
	if told["ca"] != "" {
		text, err := os.ReadFile(told["ca"])
		if err != nil {
			return err
		}
		lie.CA = string(text)
	}
	return c.askAWS(http.MethodPut, "/clusters", []*aws.Cluster{&lie})
}

func (c *cluster) askAWS(method, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(method, "http://"+awsAdmin+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	answer, err := c.client().Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body)
		return fmt.Errorf("%s: %s", answer.Status, text)
	}
	return nil
}

func appendLine(file, line string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(line + "\n")
	return err
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

func split(words string) []string {
	return strings.FieldsFunc(words, func(r rune) bool { return r == ',' })
}
