package inside

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What kubelet sets for the whole machine. It is shown a machine on which that
// was done already, so that it leaves the real one alone.
var machineSettings = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

func (s *Setup) apply() error {
	// First away from the machine's mounts, then shared among ourselves: pods
	// may ask for mounts that propagate.
	mounts := []mount{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""},
		{"", "/", "", unix.MS_REC | unix.MS_SHARED, ""},
		{"proc", "/proc", "proc", 0, ""},
		// Of the new network namespace.
		{"sysfs", "/sys", "sysfs", 0, ""},
		{"tmpfs", "/sys/fs/cgroup", "tmpfs", 0, "mode=755"},
	}
	for _, m := range mounts {
		if err := m.do(); err != nil {
			return err
		}
	}
	for _, h := range s.Cgroups {
		place := filepath.Join("/sys/fs/cgroup", h.Name)
		if err := os.Mkdir(place, 0o755); err != nil {
			return err
		}
		if err := (mount{"cgroup", place, "cgroup", 0, h.Options}).do(); err != nil {
			return err
		}
	}
	for seen, real := range s.Binds {
		if err := (mount{real, seen, "", unix.MS_BIND, ""}).do(); err != nil {
			return err
		}
	}
	if err := showCPUs(s.CPUs); err != nil {
		return err
	}
	for name, value := range machineSettings {
		if err := showSetting(name, value); err != nil {
			return err
		}
	}
	for name, value := range s.Sysctls {
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0); err != nil {
			return err
		}
	}
	return nil
}

type mount struct {
	source, target, kind string
	flags                uintptr
	options              string
}

func (m mount) do() error {
	if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
	}
	return nil
}

// A node as large as pods expect: kubelet counts processors here, while what
// they run on stays what it is.
func showCPUs(count int) error {
	if count == 0 {
		return nil
	}
	for _, name := range []string{"node", "cpu"} {
		if err := (mount{"tmpfs", "/sys/devices/system/" + name, "tmpfs", 0, "mode=755"}).do(); err != nil && !strings.Contains(err.Error(), "no such file") {
			return err
		}
	}
	for i := range count {
		topology := fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology", i)
		if err := os.MkdirAll(topology, 0o755); err != nil {
			return err
		}
		for name, value := range map[string]string{"core_id": strconv.Itoa(i), "physical_package_id": "0"} {
			if err := os.WriteFile(filepath.Join(topology, name), []byte(value+"\n"), 0o644); err != nil {
				return err
			}
		}
	}
	return os.WriteFile("/sys/devices/system/cpu/online", []byte(fmt.Sprintf("0-%d\n", count-1)), 0o644)
}

func showSetting(name, value string) error {
	setting := filepath.Join("/proc/sys", name)
	if _, err := os.Stat(setting); err != nil {
		return nil
	}
	shown := filepath.Join("/run/settings", strings.ReplaceAll(name, "/", "."))
	if err := os.MkdirAll(filepath.Dir(shown), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(shown, []byte(value+"\n"), 0o644); err != nil {
		return err
	}
	return mount{shown, setting, "", unix.MS_BIND, ""}.do()
}
