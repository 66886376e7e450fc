//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/e2e/host"
)

// dockerWay is the quickest way to connect a container by Docker's own means.
type dockerWay struct {
	command string // the path of the docker command
	network string
	api     *http.Client
}

// networks are the kinds of network that a container can be connected to.
var networks = []struct {
	name, title string
	options     []string
	member      bool // another container is on it
}{
	{"plain", "no subnet given, no members", nil, false},
	{"plainm", "no subnet given, one member", nil, true},
	{"subnet", "a subnet given, no members", []string{"--subnet", "10.8.0.0/24"}, false},
	{"subnetm", "a subnet given, one member", []string{"--subnet", "10.9.0.0/24"}, true},
}

// chooseDocker tries each docker command of this machine with each kind of network.
func (s *stage) chooseDocker(rounds int) error {
	clis := dockerCommands()
	var all []*entrant
	ways := map[*entrant]dockerWay{}
	for _, n := range networks {
		if _, err := s.e.Docker(append(append([]string{"network", "create"}, n.options...), n.name)...); err != nil {
			return err
		}
		if n.member {
			if _, err := s.e.Docker("run", "-d", "--name", "member-"+n.name, "--network", n.name, host.Image, "sleep", "86400"); err != nil {
				return err
			}
		}
		for _, cli := range clis {
			e, err := s.connectEntrant(cli, n.name)
			if err != nil {
				return err
			}
			e.name = n.title + ", " + cli
			all = append(all, e)
			ways[e] = dockerWay{command: cli, network: n.name}
		}
	}
	if err := race(rounds, all, s.attached); err != nil {
		return err
	}
	best := quickest(all)
	s.docker = ways[best]
	s.docker.api = apiClient(s.e.Socket)
	s.printVersions(clis)
	fmt.Printf("docker network connect, median of %d interleaved runs; the quickest is compared below\n\n", rounds)
	w := table()
	fmt.Fprintln(w, "\tconnect ms\tdisconnect ms\t\t")
	for _, e := range all {
		mark := ""
		if e == best {
			mark = "the quickest"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\n", e.name, ms(median(e.on)), ms(median(e.off)), mark)
	}
	fmt.Fprintln(w)
	return w.Flush()
}

func (s *stage) connectEntrant(cli, network string) (*entrant, error) {
	on, err := s.command(cli, "network", "connect", network, "web")
	if err != nil {
		return nil, err
	}
	off, err := s.command(cli, "network", "disconnect", network, "web")
	return &entrant{do: on, undo: off}, err
}

// dockerCommands are the different docker commands that packages and people have
// brought to this machine.
func dockerCommands() (paths []string) {
	var seen []string
	for _, dir := range []string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin"} {
		path := filepath.Join(dir, "docker")
		real, err := filepath.EvalSymlinks(path)
		if err == nil && !slices.Contains(seen, real) {
			seen, paths = append(seen, real), append(paths, path)
		}
	}
	return paths
}

func (s *stage) printVersions(clis []string) {
	engine, _ := s.e.Docker("version", "--format", "{{.Server.Version}}")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	fmt.Printf("Linux %s; Docker Engine %s", strings.TrimSpace(string(kernel)), engine)
	for _, cli := range clis {
		version := strings.TrimPrefix(output(cli, "--version"), "Docker version ")
		fmt.Printf("; %s %s", cli, version)
	}
	fmt.Print("\n\n")
}

// apiClient keeps its connection, as no command can.
func apiClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
}

// call asks the API to connect or disconnect web.
func (d dockerWay) call(verb string) func() error {
	return func() error {
		r, err := d.api.Post("http://docker/networks/"+d.network+"/"+verb, "application/json", strings.NewReader(`{"Container":"web"}`))
		if err != nil {
			return err
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err == nil && r.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", r.Status, text)
		}
		return err
	}
}
