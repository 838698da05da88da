package cluster

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"envctl.dev/tests/cluster/inside"
)

// cgroups are one directory in each hierarchy of the machine. Seen from
// inside, it is the root: kubelets that run side by side find only their own
// pods, and the cluster's memory is counted in one place.
type cgroups struct {
	name        string
	places      []string
	hierarchies []inside.Hierarchy
}

func newCgroups(name string) (*cgroups, error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer mounts.Close()
	c := &cgroups{name: name}
	lines := bufio.NewScanner(mounts)
	for lines.Scan() {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		kind := strings.Fields(after)
		fields := strings.Fields(before)
		if len(kind) < 3 || kind[0] != "cgroup" || len(fields) < 5 || filepath.Dir(fields[4]) != "/sys/fs/cgroup" {
			continue
		}
		place := filepath.Join(fields[4], name)
		c.places = append(c.places, place)
		var options []string
		for _, option := range strings.Split(kind[2], ",") {
			switch {
			case option == "rw", option == "ro", option == "xattr", option == "clone_children", strings.HasPrefix(option, "release_agent"):
			case strings.HasPrefix(option, "name="):
				options = append(options, "none", option)
			default:
				options = append(options, option)
			}
		}
		c.hierarchies = append(c.hierarchies, inside.Hierarchy{Name: filepath.Base(fields[4]), Options: strings.Join(options, ",")})
		// kubelet makes the second itself if it is missing, but with as many
		// processors as the node says it has.
		for _, one := range []string{place, filepath.Join(place, "kubepods")} {
			if err := makeCgroup(one); err != nil {
				return c, err
			}
		}
	}
	if len(c.places) == 0 {
		return c, fmt.Errorf("no cgroups of version 1 below /sys/fs/cgroup: this machine has only version 2, which is not done yet")
	}
	return c, lines.Err()
}

func makeCgroup(place string) error {
	if err := os.Mkdir(place, 0o755); err != nil {
		return err
	}
	// These begin empty, and take no process before they have something.
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(filepath.Dir(place), name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(place, name), value, 0); err != nil {
			return err
		}
	}
	return nil
}

func (c *cgroups) add(pid int) error {
	for _, place := range c.places {
		if err := os.WriteFile(filepath.Join(place, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroups ends what still runs in them. Normally the first process's end has
// done that; what it left is being buried by the kernel.
func removeCgroups(places []string) error {
	deadline := time.Now().Add(10 * time.Second)
	for _, place := range places {
		for {
			err := removeTree(place)
			if err == nil || os.IsNotExist(err) {
				break
			}
			if time.Now().After(deadline) {
				return err
			}
			kill(place)
			time.Sleep(20 * time.Millisecond) // the kernel tells nobody when a cgroup has become empty
		}
	}
	return nil
}

func kill(place string) {
	_ = filepath.WalkDir(place, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil
		}
		text, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil && pid > 1 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		return nil
	})
}

// The files in a cgroup go with its directory; only directories are removed.
func removeTree(place string) error {
	entries, err := os.ReadDir(place)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(place, entry.Name())); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
	}
	return syscall.Rmdir(place)
}
