package oci

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
)

const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// TestGuest: whose container it is, by its bundle, which nobody but its engine chooses.
func TestGuest(t *testing.T) {
	storage := t.TempDir() + "/overlay-containers"
	if err := os.MkdirAll(storage+"/"+id, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(storage+"/containers.json", []byte(`[{"id":"1","names":["db"]},{"id":"`+id+`","names":["web"]}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	const v2 = "/run/containerd/io.containerd.runtime.v2.task/"
	pod := map[string]string{"io.kubernetes.cri.sandbox-name": "web-0", "io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-id": "5a"}
	crio := map[string]string{ // what is not a label of kubelet can be the pod's own annotation
		"io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "shop",
		"io.kubernetes.cri.sandbox-name": "forged", "io.kubernetes.cri.sandbox-namespace": "forged", "io.kubernetes.cri-o.KubeName": "forged", "io.container.manager": "libpod",
	}
	for _, test := range []struct {
		id, bundle  string
		annotations map[string]string
		want        string // RUNTIME ID NAME NAMESPACE/POD
	}{
		{id, v2 + "moby/" + id, crio, "docker " + id + "  "},
		{"web", v2 + "default/web", crio, "containerd web web "},
		{id, v2 + "k8s.io/" + id, pod, "cri 5a web-0 shop/web-0"},
		{id, v2 + "k8s.io/" + id, map[string]string{"io.kubernetes.cri.sandbox-name": "a b", "io.kubernetes.cri.sandbox-namespace": "shop"}, ""},
		{id, v2 + "k8s.io/" + id, map[string]string{"io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "shop"}, ""},
		{id, storage + "/" + id + "/userdata", crio, "podman " + id + " web "},
		{id, "/run/storage/overlay-containers/" + id + "/userdata", crio, "cri " + id + " web-0 shop/web-0"},
		{id, "/run/storage/overlay-containers/" + id + "/userdata", pod, ""},
		{"web", "/tmp/web", pod, "pid 4711 web "},
		{"web", "", crio, "pid 4711 web "},
	} {
		s := State{ID: test.id, PID: 4711, Bundle: test.bundle, Annotations: test.annotations}
		g, err := s.Guest()
		got := g.Runtime + " " + g.ID + " " + g.Name + " "
		if g.Runtime == guests.RuntimeCRI {
			got += s.Pod().Namespace + "/" + s.Pod().Name
		}
		if err != nil {
			got = ""
		}
		if got != test.want {
			t.Errorf("%s, %s: %q, %v; want %q", test.bundle, test.annotations, got, err, test.want)
		}
	}
}

func TestReadState(t *testing.T) {
	s, err := ReadState(strings.NewReader(`{"ociVersion":"1.0.2","id":"web","status":"created","pid":7,"bundle":"/b","annotations":{"a":"b"},"more":[]}`))
	if want := (State{"web", 7, "/b", map[string]string{"a": "b"}}); err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("%+v, %v; want %+v", s, err, want)
	}
	for _, text := range []string{"", "{}", "[]", `{"id":"web"`, `{"id":"` + strings.Repeat("x", maxState) + `"}`} {
		if _, err := ReadState(strings.NewReader(text)); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// TestWithHook: the hook comes after those that there are, and all else stays as it is.
func TestWithHook(t *testing.T) {
	h := Hook{Path: "/h", Args: []string{"h", "hook"}, Timeout: 15}
	const own = `{"path":"/h","args":["h","hook"],"timeout":15}`
	for config, want := range map[string]string{
		`{}`:                        `{"hooks":{"createRuntime":[` + own + `]}}`,
		`{ "x":1e2, "a":"<\u0026"}`: `{"hooks":{"createRuntime":[` + own + `]}, "x":1e2, "a":"<\u0026"}`,
		`{"hooks":null,"x":1}`:      `{"hooks":{"createRuntime":[` + own + `]},"x":1}`,
		"{\n\t\"hooks\": {\"prestart\": [{\"path\":\"/p\"}]}\n}\n":              "{\n\t\"hooks\": {\"createRuntime\":[" + own + "],\"prestart\": [{\"path\":\"/p\"}]}\n}\n",
		`{"x":{"hooks":1},"hooks":{"createRuntime":[ {"path":"/p","new":1} ]}}`: `{"x":{"hooks":1},"hooks":{"createRuntime":[ {"path":"/p","new":1} ,` + own + `]}}`,
		`{"hooks":{"createRuntime":[]}}`:                                        `{"hooks":{"createRuntime":[` + own + `]}}`,
		`{"hooks":{"createRuntime":null}}`:                                      `{"hooks":{"createRuntime":[` + own + `]}}`,
	} {
		got, err := withHook([]byte(config), h)
		if err != nil || string(got) != want {
			t.Errorf("%s becomes %s, %v; want %s", config, got, err, want)
		}
		if again, err := withHook(got, h); err != nil || string(again) != string(got) {
			t.Errorf("%s: the second time it becomes %s, %v", config, again, err)
		}
	}
	for _, config := range []string{"", "[]", "{", `{"hooks":1}`, `{"hooks":{"createRuntime":{}}}`, `{"a":1]`} {
		if got, err := withHook([]byte(config), h); err == nil {
			t.Errorf("%s becomes %s", config, got)
		}
	}
}

// FuzzWithHook: what is no JSON is refused, and of what is, nothing is lost.
func FuzzWithHook(f *testing.F) {
	f.Add([]byte(`{"hooks":{"createRuntime":[{"path":"/p"}]},"a":1}`))
	f.Add([]byte(`{"hooks":{"createRuntime":[],"createRuntime":null},"hooks":{}}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		got, err := withHook(config, Hook{Path: "/h"})
		if err != nil {
			return
		}
		var before, after map[string]any
		if json.Unmarshal(config, &before) != nil {
			return // more follows the object
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%s becomes %s: %v", config, got, err)
		}
		delete(before, "hooks")
		delete(after, "hooks")
		if !reflect.DeepEqual(before, after) {
			t.Errorf("%s becomes %s", config, got)
		}
	})
}

// TestAddHook: the file keeps its mode; one that cannot be changed is left as it is.
func TestAddHook(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, []byte(`{}`), 0o640); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := AddHook(dir, Hook{Path: "/h"}); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(file)
		text, _ := os.ReadFile(file)
		if err != nil || st.Mode() != 0o640 || string(text) != `{"hooks":{"createRuntime":[{"path":"/h"}]}}` {
			t.Errorf("%s, %v, %v", text, st, err)
		}
	}
	if all, _ := os.ReadDir(dir); len(all) != 1 {
		t.Errorf("%v are there", all)
	}
	if got := (State{Bundle: dir}).Rootfs(); got != "" {
		t.Errorf("it has the root file system %q", got)
	}
	if err := os.WriteFile(file, []byte(`{"root":{"path":"/layer/merged"}}`), 0o640); err != nil {
		t.Fatal(err)
	}
	if got := (State{Bundle: dir}).Rootfs(); got != "/layer/merged" {
		t.Errorf("it has the root file system %q", got)
	}
	err := AddHook(dir+"/none", Hook{Path: "/h"})
	if err == nil || !strings.HasPrefix(err.Error(), "add the hook to "+dir+"/none/config.json: ") {
		t.Error(err)
	}
}

func TestCreates(t *testing.T) {
	for line, want := range map[string]string{ // the bundle; "": they create nothing
		"create web":                     ".",
		"create --bundle /b web":         "/b",
		"create -b=/b --pid-file /p web": "/b",
		"create -bundle /b web":          "/b",
		"--root /r --log /l --log-format json create --bundle /b --pid-file /b/init.pid " + id: "/b",
		"--root create start web":                                                    "",
		"--root=create --systemd-cgroup state":                                       "",
		"--debug --rootless true create web":                                         ".",
		"--cgroup-manager cgroupfs create --console-socket --bundle --bundle /b web": "/b",
		"run --bundle /b web":                                                        "",
		"exec web create":                                                            "",
		"delete --force create":                                                      "",
		"create --bundle /b -- web":                                                  "/b",
		"start create --bundle /b":                                                   "",
		"--version":                                                                  "",
		"":                                                                           "",
	} {
		bundle, is := Creates(strings.Fields(line))
		if is != (want != "") || is && bundle != want {
			t.Errorf("%q: %q, %v; want %q", line, bundle, is, want)
		}
	}
}
