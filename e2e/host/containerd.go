//go:build linux

package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Containerd has its own data, state and socket, and nothing of the host's.
type Containerd struct {
	Socket string

	place  Place
	dir    string
	group  string // the control group of its containers
	daemon *daemon
	ran    [][2]string // namespace and ID
	pods   []string    // their IDs
}

// CNI is where an engine finds plugins, and the configurations of its networks.
type CNI struct{ Plugins, Networks string }

// StartContainerd starts containerd on the host, for everything that runs there. The settings
// are lines about the runtime of its pods.
func (h *Host) StartContainerd(settings ...string) (*Containerd, error) {
	c, err := NewContainerd(h, filepath.Join(h.Dir, "ctr"), cgroupName(h.Dir)+"/ctr", settings...)
	if err != nil {
		return nil, err
	}
	h.Setenv("CONTAINERD_ADDRESS", c.Socket)
	return c, nil
}

// StartPods starts containerd on the host, for pods that have the first network, by name, of
// those that are there.
func (h *Host) StartPods(cni CNI) (*Containerd, error) {
	c, err := newContainerd(h, filepath.Join(h.Dir, "ctr"), cgroupName(h.Dir)+"/ctr", cni)
	if err != nil {
		return nil, err
	}
	return c, c.ImportPause()
}

// NewContainerd starts containerd, with a CRI whose pods have no network: that is
// a plugin's business, and this one claims to have done it.
func NewContainerd(place Place, dir, group string, settings ...string) (*Containerd, error) {
	const plugin = `#!/bin/sh
echo '{"cniVersion":"0.4.0","interfaces":[{"name":"'$CNI_IFNAME'","sandbox":"'$CNI_NETNS'"}],"ips":[{"version":"4","address":"192.0.2.2/24","interface":0}]}'
`
	err := writeFiles(dir, map[string]string{
		"cni/10-none.conflist": `{"cniVersion":"0.4.0","name":"none","plugins":[{"type":"none"}]}`,
		"plugins/none":         plugin,
		"plugins/loopback":     plugin,
	})
	if err != nil {
		return nil, err
	}
	return newContainerd(place, dir, group, CNI{dir + "/plugins", dir + "/cni"}, settings...)
}

func newContainerd(place Place, dir, group string, cni CNI, settings ...string) (*Containerd, error) {
	c := &Containerd{Socket: dir + "/c.sock", place: place, dir: dir, group: group}
	err := writeFiles(dir, map[string]string{
		"config.toml": fmt.Sprintf(`version = 2
root = %[1]q
state = %[2]q
[grpc]
address = %[3]q
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = %[6]q
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = %[4]q
conf_dir = %[5]q
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
%[7]s
`, dir+"/root", dir+"/state", c.Socket, cni.Plugins, cni.Networks, PauseImage, strings.Join(settings, "\n")),
	})
	if err != nil {
		return nil, err
	}
	if err := Rootfs(c.Rootfs()); err != nil {
		return nil, err
	}
	answers := func() bool { _, err := c.Ctr("version"); return err == nil }
	log := dir + "/containerd.log"
	if c.daemon, err = startDaemon(place, log, answers, "containerd", "-c", dir+"/config.toml"); err != nil {
		return nil, err
	}
	// The CRI refuses everything until all of its parts have started, which ctr does
	// not tell. These are its last words before; another version may have others.
	Poll(15*time.Second, func() bool {
		said, _ := os.ReadFile(log)
		return strings.Contains(string(said), "Start streaming server")
	})
	return c, nil
}

// Rootfs is the root file system of its containers.
func (c *Containerd) Rootfs() string { return c.dir + "/rootfs" }

// Ctr runs the ctr command and returns what it printed.
func (c *Containerd) Ctr(args ...string) (string, error) {
	return ask(c.place, nil, "ctr", append([]string{"-a", c.Socket}, args...)...)
}

// Run starts a container that sleeps, in one of containerd's namespaces.
func (c *Containerd) Run(namespace, id string, args ...string) (pid int, err error) {
	c.ran = append(c.ran, [2]string{namespace, id})
	cgroup := "/" + c.group + "/" + namespace + "/" + id
	line := slices.Concat([]string{"-n", namespace, "run", "-d", "--cgroup", cgroup, "--rootfs"}, args, []string{c.Rootfs(), id, "/bin/sleep", "86400"})
	if _, err := c.Ctr(line...); err != nil {
		return 0, err
	}
	return c.PID(namespace, id)
}

// PID is a container's process.
func (c *Containerd) PID(namespace, id string) (int, error) {
	tasks, err := c.Ctr("-n", namespace, "tasks", "ls")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(tasks) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == id {
			return strconv.Atoi(words[1])
		}
	}
	return 0, fmt.Errorf("%s has no task", id)
}

// Close removes every container and pod that was started here, and ends the daemon.
func (c *Containerd) Close() error {
	defer RemoveCgroup(c.group)
	defer c.daemon.stop()
	var all error
	for _, id := range c.pods {
		all = errors.Join(all, c.RemovePod(id))
	}
	for _, r := range c.ran {
		_, _ = c.Ctr("-n", r[0], "tasks", "rm", "-f", r[1])
		if _, err := c.Ctr("-n", r[0], "containers", "rm", r[1]); err != nil {
			all = errors.Join(all, err)
		}
	}
	return all
}
