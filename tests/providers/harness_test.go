package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	tagtypes "github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi/types"
)

// What the doubles do is seen with the real Terraform, at the AWS of a test
// cluster that lives as long as the tests.

var (
	tools   string
	cluster struct {
		Account     string            `json:"account"`
		Region      string            `json:"region"`
		AWSLog      string            `json:"awsLog"`
		Environment map[string]string `json:"environment"`
	}
)

func TestMain(m *testing.M) {
	code, err := with(m)
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

func with(m *testing.M) (int, error) {
	here, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	tools = filepath.Join(here, "..", "..", ".tools")
	for _, built := range []string{"providers/terraform.rc", "bin/envctl-test-cluster"} {
		if _, err := os.Stat(filepath.Join(tools, built)); err != nil {
			return 0, fmt.Errorf("%w; this makes it:\n  scripts/cluster build", err)
		}
	}
	directory, err := os.MkdirTemp("", "providers")
	if err != nil {
		return 0, err
	}
	down, err := up(directory)
	if err != nil {
		return 0, err
	}
	defer down()
	text, err := os.ReadFile(filepath.Join(directory, "ready"))
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(text, &cluster); err != nil {
		return 0, err
	}
	for name, value := range cluster.Environment {
		if err := os.Setenv(name, value); err != nil {
			return 0, err
		}
	}
	return m.Run(), nil
}

// up returns when the cluster is ready. It goes when this process does.
func up(directory string) (down func(), err error) {
	program := exec.Command(filepath.Join(tools, "bin", "envctl-test-cluster"), "up", "--dir", directory, "--name", "providers", "--until-stdin-closes")
	open, err := program.StdinPipe()
	if err != nil {
		return nil, err
	}
	said, err := program.StdoutPipe()
	if err != nil {
		return nil, err
	}
	program.Stderr = os.Stderr
	if err := program.Start(); err != nil {
		return nil, err
	}
	if _, err := bufio.NewReader(said).ReadString('\n'); err != nil {
		return nil, errors.Join(errors.New("the cluster did not start"), program.Wait())
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	return func() {
		_ = open.Close()
		_ = program.Wait()
		_ = os.RemoveAll(directory)
	}, nil
}

// root is a copy of a Terraform root, to be worked with in a house of its own.
type root struct {
	t         *testing.T
	directory string
	env       []string
	variables []string
}

func rootOf(t *testing.T, name string, variables ...string) *root {
	t.Helper()
	r := &root{t: t, directory: t.TempDir()}
	if err := os.CopyFS(r.directory, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	for _, one := range variables {
		r.variables = append(r.variables, "TF_VAR_"+one)
	}
	r.env = append(r.env, "PATH="+os.Getenv("PATH"), "HOME="+r.directory, "TMPDIR="+r.directory, "AWS_PROFILE=platform", "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_INPUT=0",
		"TF_CLI_CONFIG_FILE="+filepath.Join(tools, "providers", "terraform.rc"))
	for name, value := range cluster.Environment {
		r.env = append(r.env, name+"="+value)
	}
	return r
}

// set is for all that follows.
func (r *root) set(variables ...string) { r.env = append(r.env, variables...) }

func (r *root) command(words ...string) *exec.Cmd {
	words = append([]string{words[0], "-no-color"}, words[1:]...)
	if words[0] == "workspace" || words[0] == "state" {
		words = slices.Delete(words, 1, 2)
	}
	command := exec.Command("terraform", words...)
	command.Dir, command.Env = r.directory, append(slices.Clone(r.env), r.variables...)
	return command
}

// try returns what it said and how it ended.
func (r *root) try(words ...string) (string, int) {
	r.t.Helper()
	command := r.command(words...)
	said, err := command.CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		r.t.Fatal(err)
	}
	r.t.Logf("$ terraform %s\n%s", strings.Join(words, " "), said)
	return string(said), command.ProcessState.ExitCode()
}

func (r *root) run(words ...string) string {
	r.t.Helper()
	said, code := r.try(words...)
	if code != 0 {
		r.t.Fatalf("terraform %v: exit code %d", words, code)
	}
	return said
}

// fails returns what was said, in one line: Terraform breaks lines and draws boxes.
func (r *root) fails(text string, words ...string) {
	r.t.Helper()
	said, code := r.try(words...)
	if code != 1 {
		r.t.Fatalf("terraform %v: exit code %d instead of 1", words, code)
	}
	if !strings.Contains(flat(said), text) {
		r.t.Fatalf("it does not say %q", text)
	}
}

func flat(text string) string {
	return strings.Join(strings.Fields(strings.NewReplacer("│", " ", "╷", " ", "╵", " ").Replace(text)), " ")
}

func (r *root) apply(flags ...string) string {
	r.t.Helper()
	return r.run(append([]string{"apply", "-auto-approve"}, flags...)...)
}

func (r *root) destroy() string {
	r.t.Helper()
	return r.run("destroy", "-auto-approve")
}

// settled says that nothing is left to be done.
func (r *root) settled() {
	r.t.Helper()
	if _, code := r.try("plan", "-detailed-exitcode"); code != 0 {
		r.t.Fatalf("exit code %d: something is still to be changed", code)
	}
}

func (r *root) outputs() map[string]string {
	r.t.Helper()
	var all map[string]struct{ Value json.RawMessage }
	if err := json.Unmarshal([]byte(r.run("output", "-json")), &all); err != nil {
		r.t.Fatal(err)
	}
	texts := map[string]string{}
	for name, one := range all {
		var text string
		if json.Unmarshal(one.Value, &text) != nil {
			text = string(one.Value)
		}
		texts[name] = text
	}
	return texts
}

// started runs it in a process group of its own, with the providers in it.
func (r *root) started(words ...string) (*exec.Cmd, *bytes.Buffer) {
	r.t.Helper()
	command := r.command(words...)
	said := &bytes.Buffer{}
	command.Stdout, command.Stderr = said, said
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) })
	return command, said
}

func contains(t *testing.T, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Fatalf("%q is not in:\n%s", part, text)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %v instead of %v", what, got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !check(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain waited for: %s", what)
		}
	}
}

func unique(prefix string) string { return fmt.Sprintf("%s-%x", prefix, time.Now().UnixNano()) }

// amazonAs is AWS as the tests see it, past Terraform.
func amazonAs(t *testing.T, profile string) aws.Config {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(context.Background(), config.WithSharedConfigProfile(profile))
	must(t, err)
	return cfg
}

// tagged are the ARNs of what has a tag.
func taggedWith(t *testing.T, key, value string) []string {
	t.Helper()
	found, err := resourcegroupstaggingapi.NewFromConfig(amazonAs(t, "platform")).GetResources(context.Background(), &resourcegroupstaggingapi.GetResourcesInput{
		TagFilters: []tagtypes.TagFilter{{Key: &key, Values: []string{value}}},
	})
	must(t, err)
	var all []string
	for _, one := range found.ResourceTagMappingList {
		all = append(all, aws.ToString(one.ResourceARN))
	}
	slices.Sort(all)
	return all
}
