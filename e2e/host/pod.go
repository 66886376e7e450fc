//go:build linux

package host

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// podNamespace is the namespace of containerd that its CRI uses.
const podNamespace = "k8s.io"

// A Pod is what kubelet asks the CRI to run.
type Pod struct {
	Name, Namespace string
	Annotations     map[string]string
}

// RunPod runs a pod, which has nothing but its pause container, and returns its ID. The
// network plugins run while it is made.
func (c *Containerd) RunPod(p Pod) (id string, err error) {
	id, err = c.makes("RunPodSandbox", field(1, p.config(c.group)))
	if err == nil {
		c.pods = append(c.pods, id)
	}
	return id, err
}

// StartInPod starts a container that sleeps in a pod that runs.
func (c *Containerd) StartInPod(p Pod, id, name string) error {
	// CreateContainerRequest: 1 pod_sandbox_id, 2 config{1 metadata{1 name}, 2 image{1 image}},
	// 3 sandbox_config.
	container := field(2, field(1, field(1, []byte(name))), field(2, field(1, []byte(PauseImage))))
	made, err := c.makes("CreateContainer", bytes.Join([][]byte{field(1, []byte(id)), container, field(3, p.config(c.group))}, nil))
	if err == nil {
		_, err = c.cri("StartContainer", field(1, []byte(made)))
	}
	return err
}

// makes calls a method of the CRI that makes something, and returns its ID.
func (c *Containerd) makes(method string, request []byte) (id string, err error) {
	answer, err := c.cri(method, request)
	if err != nil {
		return "", err
	}
	// RunPodSandboxResponse: 1 pod_sandbox_id. CreateContainerResponse: 1 container_id.
	number, _, n := protowire.ConsumeTag(answer)
	if n < 0 || number != 1 {
		return "", errors.New("the CRI answers without an ID")
	}
	text, n := protowire.ConsumeBytes(answer[n:])
	if n < 0 {
		return "", protowire.ParseError(n)
	}
	return string(text), nil
}

// config returns a PodSandboxConfig: 1 metadata{1 name, 2 uid, 3 namespace}, 2 hostname,
// 4 log_directory, 7 annotations, 8 linux{1 cgroup_parent}.
func (p Pod) config(group string) []byte {
	text := func(id protowire.Number, s string) []byte { return field(id, []byte(s)) }
	config := field(1, text(1, p.Name), text(2, "uid-"+p.Name), text(3, p.Namespace))
	for key, value := range p.Annotations {
		config = append(config, field(7, text(1, key), text(2, value))...)
	}
	return append(config, field(8, text(1, "/"+group))...)
}

// field returns a field of a message, made of parts.
func field(id protowire.Number, parts ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, id, protowire.BytesType), bytes.Join(parts, nil))
}

// PodPID is a pod's process.
func (c *Containerd) PodPID(id string) (int, error) { return c.PID(podNamespace, id) }

// StopPod stops a pod: its network is removed. It can be stopped again.
func (c *Containerd) StopPod(id string) error {
	_, err := c.cri("StopPodSandbox", field(1, []byte(id)))
	return err
}

// RemovePod stops and removes a pod.
func (c *Containerd) RemovePod(id string) error {
	c.pods = slices.DeleteFunc(c.pods, func(pod string) bool { return pod == id })
	if err := c.StopPod(id); err != nil {
		return err
	}
	_, err := c.cri("RemovePodSandbox", field(1, []byte(id)))
	return err
}

// cri calls a method of the CRI, as gRPC does without TLS: a POST of one message, after a
// byte that says that it is not compressed and its length.
func (c *Containerd) cri(method string, request []byte) ([]byte, error) {
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	client := http.Client{Timeout: Patience, Transport: &http.Transport{
		Protocols: &h2c,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", c.Socket)
		},
	}}
	defer client.CloseIdleConnections()
	frame := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request))), request...)
	post, err := http.NewRequest(http.MethodPost, "http://localhost/runtime.v1.RuntimeService/"+method, bytes.NewReader(frame))
	if err != nil {
		return nil, err
	}
	post.Header.Set("Content-Type", "application/grpc")
	post.Header.Set("Te", "trailers")
	response, err := client.Do(post)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	status := response.Trailer
	if status.Get("Grpc-Status") == "" { // it answers without a message
		status = response.Header
	}
	if status.Get("Grpc-Status") != "0" {
		text, _ := url.PathUnescape(status.Get("Grpc-Message"))
		return nil, fmt.Errorf("%s: %s", method, text)
	}
	return answer[min(5, len(answer)):], nil
}
