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

// Guest returns the guest that the container is. An engine names the directory of a bundle,
// which nobody else chooses:
//
//	.../io.containerd.runtime.v2.task/NAMESPACE/ID   containerd; Docker and the CRI have namespaces of their own
//	.../DRIVER-containers/ID/userdata                podman, which keeps the names beside it, and CRI-O, which does not
//
// The name of a container of Docker is not in its state: it is "" here. A container of no
// engine that is known is a process, whose name is the container's ID.
func (s State) Guest() (guests.GuestInfo, error) {
	g := guests.GuestInfo{ID: s.ID, Name: guests.ShortID(s.ID), PID: s.PID}
	above, last := filepath.Split(s.Bundle)
	above = filepath.Clean(above)
	switch {
	case last == "userdata" && filepath.Base(above) == s.ID:
		return s.stored(filepath.Dir(above), g)
	case last == s.ID && filepath.Base(above) == "moby":
		g.Runtime, g.Name = guests.RuntimeDocker, ""
	case last == s.ID && filepath.Base(above) == "k8s.io":
		if id := s.Annotations["io.kubernetes.cri.sandbox-id"]; plainname.Is(id) {
			g.ID = id // its containers share its network
		}
		return s.ofPod(g, s.containerdPod())
	case last == s.ID && strings.HasSuffix(filepath.Dir(above), "io.containerd.runtime.v2.task"):
		g.Runtime = guests.RuntimeContainerd
	default:
		g.Runtime, g.ID = guests.RuntimePID, strconv.Itoa(s.PID)
	}
	return g, nil
}

// stored is Guest for a container in a directory of containers/storage.
func (s State) stored(storage string, g guests.GuestInfo) (guests.GuestInfo, error) {
	if name := podmanName(storage, s.ID); name != "" {
		g.Runtime, g.Name = guests.RuntimePodman, name
		return g, nil
	}
	return s.ofPod(g, s.crioPod())
}

// ofPod is Guest for a container of a pod. The policy is not asked about one that has no name.
func (s State) ofPod(g guests.GuestInfo, p Pod) (guests.GuestInfo, error) {
	if p == (Pod{}) {
		return g, fault.New(fault.Runtime, "find the name of container", g.Name, "it is in a bundle of podman or of a CRI, and neither tells it")
	}
	g.Runtime, g.Name = guests.RuntimeCRI, p.Name
	return g, nil
}

// Pod is a pod of Kubernetes. The zero Pod: there is none.
type Pod struct{ Namespace, Name string }

// Pod returns the pod that a container of the CRI is of.
func (s State) Pod() Pod {
	if filepath.Base(s.Bundle) == "userdata" {
		return s.crioPod()
	}
	return s.containerdPod()
}

// containerdPod returns the pod as containerd names it, after what it lets the pod set.
func (s State) containerdPod() Pod {
	return s.podOf("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name")
}

// crioPod returns the pod as the labels of kubelet name it. CRI-O writes these last, so that no
// annotation of the pod can stand in their place, as it can in that of CRI-O's own.
func (s State) crioPod() Pod {
	return s.podOf("io.kubernetes.pod.namespace", "io.kubernetes.pod.name")
}

func (s State) podOf(namespace, name string) Pod {
	p := Pod{s.Annotations[namespace], s.Annotations[name]}
	if !plainname.Is(p.Namespace) || !plainname.Is(p.Name) {
		return Pod{}
	}
	return p
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
