package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

var errNobody = errors.New("no cluster runs in this directory")

// Ctl says a verb to a running cluster: ctl --dir DIR VERB [KEY=VALUE]...
func Ctl() {
	place := flag.String("dir", "", "the cluster's directory")
	flag.Parse()
	if *place == "" || flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: ctl --dir DIR VERB [KEY=VALUE]...")
		os.Exit(2)
	}
	told := said{}
	for _, one := range flag.Args()[1:] {
		key, value, _ := strings.Cut(one, "=")
		told[key] = value
	}
	answer, err := tell(dir(*place), flag.Arg(0), told)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	_, _ = os.Stdout.Write(answer)
}

func tell(d dir, verb string, told said) ([]byte, error) {
	text, err := json.Marshal(told)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", d.at("control.sock"))
	}}}
	answer, err := client.Post("http://cluster/"+verb, "application/json", bytes.NewReader(text))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%s: %w", d, errNobody)
	}
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("no such verb: %s", verb)
	}
	if err == nil && answer.StatusCode != http.StatusOK {
		return nil, errors.New(strings.TrimSpace(string(body)))
	}
	return body, err
}

// Load takes images from Docker into the node: load --dir DIR IMAGE...
func Load() {
	place := flag.String("dir", "", "the cluster's directory")
	flag.Parse()
	if *place == "" || flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: load --dir DIR IMAGE...")
		os.Exit(2)
	}
	if err := load(*place, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func load(place string, images []string) error {
	var ready Ready
	text, err := os.ReadFile(filepath.Join(place, "ready"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &ready); err != nil {
		return err
	}
	save := exec.Command("docker", append([]string{"save"}, images...)...)
	// A socket's path must be short, and this one is.
	socket := fmt.Sprintf("/proc/%d/root%s", ready.NamespacesPid, containerdAt)
	take := exec.Command("ctr", "-a", socket, "-n", "k8s.io", "images", "import", "-")
	pipe, err := save.StdoutPipe()
	if err != nil {
		return err
	}
	save.Stderr, take.Stdin, take.Stdout, take.Stderr = os.Stderr, pipe, os.Stdout, os.Stderr
	if err := save.Start(); err != nil {
		return err
	}
	return errors.Join(take.Run(), save.Wait())
}
