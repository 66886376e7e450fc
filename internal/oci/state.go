package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plainname"
)

// State is what a runtime tells a hook about a container.
type State struct {
	ID          string            `json:"id"`
	PID         int               `json:"pid"` // 0: it has no process
	Bundle      string            `json:"bundle"`
	Annotations map[string]string `json:"annotations"`
}

// maxState bounds a state, in bytes. Annotations are all that can be long in it: those of a
// pod have 256 KiB at most.
const maxState = 1 << 20

// ReadState reads the state that a hook gets on its standard input.
func ReadState(r io.Reader) (State, error) {
	var s State
	text, err := io.ReadAll(io.LimitReader(r, maxState+1))
	switch {
	case err != nil:
	case len(text) == 0:
		err = errors.New("it is empty")
	case len(text) > maxState:
		err = fmt.Errorf("it has more than %d bytes", maxState)
	default:
		if err = json.Unmarshal(text, &s); err == nil && s.ID == "" {
			err = errors.New("it has no id")
		}
	}
	if err != nil {
		return State{}, fault.New(fault.Invalid, "read", "the state of a container", "%w", err).
			WithHint("an OCI runtime runs gopipework hook, and writes the state to its standard input")
	}
	return s, nil
}

// The engines whose containers are known by their bundles, as guests.GuestInfo has them.
const (
	Docker     = "docker"
	Podman     = "podman"
	Containerd = "containerd"
	CRI        = "cri"
)

// Guest returns the guest that the container is. An engine names the directory of a bundle,
// which nobody else chooses:
//
//	.../io.containerd.runtime.v2.task/NAMESPACE/ID   containerd; Docker and the CRI have namespaces of their own
//	.../DRIVER-containers/ID/userdata                podman, and CRI-O
//
// The name of a container of Docker is not in its state: it is "" here. A container of no
// engine that is known is a process, whose name is the container's ID.
func (s State) Guest() guests.GuestInfo {
	g := guests.GuestInfo{ID: s.ID, Name: shortID(s.ID), PID: s.PID}
	above, last := filepath.Split(s.Bundle)
	above = filepath.Clean(above)
	kept := last == "userdata" && filepath.Base(above) == s.ID // in the directory of a container's files
	switch {
	case last == s.ID && filepath.Base(above) == "moby":
		g.Runtime, g.Name = Docker, ""
	case last == s.ID && filepath.Base(above) == "k8s.io", kept && s.Annotations["io.container.manager"] == "cri-o":
		g.Runtime = CRI
		if _, name, sandbox := s.pod(); name != "" { // its containers share its network
			g.ID, g.Name = sandbox, name
		}
	case last == s.ID && strings.HasSuffix(filepath.Dir(above), "io.containerd.runtime.v2.task"):
		g.Runtime = Containerd
	case kept:
		g.Runtime = Podman
		if name := podmanName(filepath.Dir(above), s.ID); name != "" {
			g.Name = name
		}
	default:
		g.Runtime, g.ID = "pid", strconv.Itoa(s.PID)
	}
	return g
}

// Pod returns the pod of Kubernetes that the container is of, as containerd and CRI-O name it
// among the annotations, after those that they let others set; "": there is none.
func (s State) Pod() (namespace, name string) {
	namespace, name, _ = s.pod()
	return namespace, name
}

func (s State) pod() (namespace, name, sandbox string) {
	for _, keys := range [][3]string{
		{"io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name", "io.kubernetes.cri.sandbox-id"},
		{"io.kubernetes.cri-o.Namespace", "io.kubernetes.cri-o.KubeName", "io.kubernetes.cri-o.SandboxID"},
	} {
		namespace, name, sandbox = s.Annotations[keys[0]], s.Annotations[keys[1]], s.Annotations[keys[2]]
		if plainname.Is(namespace) && plainname.Is(name) && plainname.Is(sandbox) {
			return namespace, name, sandbox
		}
	}
	return "", "", ""
}

// podmanName returns the name of a container in a directory of podman's storage; "": it is
// not known. podman itself must not be asked while it starts the container, which it has
// locked.
func podmanName(storage, id string) string {
	for _, file := range []string{"containers.json", "volatile-containers.json"} {
		text, err := os.ReadFile(filepath.Join(storage, file))
		if err != nil {
			continue
		}
		var all []struct {
			ID    string
			Names []string
		}
		if json.Unmarshal(text, &all) != nil {
			continue
		}
		for _, c := range all {
			if c.ID == id && len(c.Names) > 0 && plainname.Is(c.Names[0]) {
				return c.Names[0]
			}
		}
	}
	return ""
}

// shortID returns the part of a generated ID that people read.
func shortID(id string) string {
	const whole, short = 64, 12
	if len(id) == whole {
		return id[:short]
	}
	return id
}
