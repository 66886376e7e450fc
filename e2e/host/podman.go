//go:build linux

package host

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/gopipework/gopipework/e2e/program"
)

// A Podman keeps everything it has in a directory of its own.
type Podman struct {
	// Env makes any podman command this one.
	Env []string

	place Place
	dir   string
	group string // the control group of its containers
}

// ownPodman gives the host a database of podman's. The command finds no containers in it, and waits
// for nobody: that of the machine would be one for all hosts.
func (h *Host) ownPodman() error {
	dir := filepath.Join(h.Dir, "containers")
	h.Setenv("CONTAINERS_STORAGE_CONF", dir+"/storage.conf")
	return writeFiles(dir, map[string]string{"storage.conf": podmanStorage(dir)})
}

// podmanStorage is the configuration of containers that are kept below a directory.
func podmanStorage(dir string) string {
	return fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", dir+"/root", dir+"/run")
}

// StartPodman starts podman on the host, for everything that runs there.
func (h *Host) StartPodman() (*Podman, error) { return h.startPodman("") }

// StartPodmanCNI is StartPodman with networks of CNI.
func (h *Host) StartPodmanCNI(cni CNI) (*Podman, error) {
	return h.startPodman(fmt.Sprintf(`[network]
network_backend = "cni"
cni_plugin_dirs = [%q]
network_config_dir = %q
`, cni.Plugins, cni.Networks))
}

func (h *Host) startPodman(more string) (*Podman, error) {
	// It wants the file that DOCKER_CONFIG names.
	if err := writeFiles(h.Dir, map[string]string{"config.json": "{}\n"}); err != nil {
		return nil, err
	}
	p, err := newPodman(h, filepath.Join(h.Dir, "podman"), cgroupName(h.Dir)+"/podman", more)
	if err != nil {
		return nil, err
	}
	for _, e := range p.Env {
		name, value, _ := strings.Cut(e, "=")
		h.Setenv(name, value)
	}
	return p, nil
}

// NewPodman sets a podman up.
func NewPodman(place Place, dir, group string) (*Podman, error) {
	return newPodman(place, dir, group, "")
}

// newPodman sets a podman up, with more in its configuration. Without CAP_SYS_RESOURCE the
// limits of a container may not be above the caller's own.
func newPodman(place Place, dir, group, more string) (*Podman, error) {
	runtime := "crun"
	if _, err := program.Look("runc"); err == nil {
		runtime = "runc" // crun refuses a hybrid of cgroups v1 and v2
	}
	p := &Podman{place: place, dir: dir, group: group, Env: []string{
		"CONTAINERS_CONF=" + dir + "/containers.conf",
		"CONTAINERS_STORAGE_CONF=" + dir + "/storage.conf",
	}}
	err := writeFiles(dir, map[string]string{
		"containers.conf": fmt.Sprintf(`[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = %q
tmp_dir = %q
%s`, runtime, dir+"/tmp", more),
		"storage.conf": podmanStorage(dir),
	})
	if err != nil {
		return nil, err
	}
	return p, Rootfs(dir + "/rootfs")
}

// Podman runs the podman command and returns what it printed.
func (p *Podman) Podman(args ...string) (string, error) {
	return ask(p.place, p.Env, "podman", args...)
}

// Start runs or creates a container, as verb says, that sleeps, and returns its ID.
func (p *Podman) Start(verb string, args ...string) (id string, err error) {
	args = append(append([]string{verb, "--cgroup-parent", "/" + p.group}, args...), "--rootfs", p.dir+"/rootfs", "/bin/sleep", "86400")
	return p.Podman(args...)
}

// PID is a container's process.
func (p *Podman) PID(container string) (int, error) {
	return askPID(p.place, p.Env, "podman", "container", "inspect", "-f", "{{.State.Pid}}", container)
}

// Close removes every container.
func (p *Podman) Close() error {
	defer RemoveCgroup(p.group)
	for range 3 { // one that shares another's namespace goes first
		if out, err := p.Podman("ps", "-aq"); out == "" {
			return err
		}
		_, _ = p.Podman("rm", "-fa", "-t", "0")
	}
	out, err := p.Podman("ps", "-aq")
	if err == nil && out != "" {
		err = fmt.Errorf("podman keeps containers: %s", out)
	}
	return err
}
