package cluster

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Down asks the supervisor to remove its cluster, waits until it has, and
// removes the directory too.
func Down() { finish("down", down) }

// Clean removes what a supervisor that was killed has left, its directory too.
func Clean() { finish("clean", clean) }

func finish(name string, do func(dir) error) {
	place := flag.String("dir", "", "the cluster's directory")
	flag.Parse()
	if *place == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	absolute, err := filepath.Abs(*place)
	if err == nil {
		err = do(dir(absolute))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %s: %v\n", name, err)
		os.Exit(1)
	}
}

func down(d dir) error {
	if _, err := os.Stat(string(d)); err != nil {
		return err
	}
	if _, err := tell(d, "shutdown", said{}); err != nil && !errors.Is(err, errNobody) {
		return err
	}
	lock, err := os.OpenFile(d.at("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	// The supervisor holds it until nothing is left to do.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if err := sweep(d); err != nil {
		return err
	}
	return os.RemoveAll(string(d))
}

func clean(d dir) error {
	if _, err := os.Stat(string(d)); err != nil {
		return err
	}
	lock, err := takeLock(d)
	if err != nil {
		return fmt.Errorf("%w; to remove it: envctl-test-cluster down --dir %s", err, d)
	}
	defer lock.Close()
	if err := sweep(d); err != nil {
		return err
	}
	return os.RemoveAll(string(d))
}

// sweep is for whoever holds the lock. Processes, mounts and namespaces went
// with the supervisor; cgroups and files do not go by themselves.
func sweep(d dir) error {
	text, err := os.ReadFile(d.at("state.json"))
	if err == nil {
		var left state
		if err := json.Unmarshal(text, &left); err != nil {
			return err
		}
		if err := removeCgroups(left.Cgroups); err != nil {
			return err
		}
		removeDevice(left.Device)
	} else if !os.IsNotExist(err) {
		return err
	}
	return d.clear()
}
