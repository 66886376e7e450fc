package dockerutil

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
)

// cleanEnv removes what a developer's own Docker configuration would change,
// and returns the directory that stands for ~/.docker.
func cleanEnv(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_API_VERSION", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONFIG"} {
		t.Setenv(name, "")
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	return filepath.Join(home, ".docker")
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// writeContext writes what "docker context create rootless" writes. The
// directory's name is printf rootless | sha256sum.
func writeContext(t *testing.T, dir, meta string) {
	t.Helper()
	const sum = "12b961af5feb3e9d39f93b2cefb9a1a944f18d02cca0cac2f04f5a982240605f"
	writeFile(t, filepath.Join(dir, "contexts/meta", sum, "meta.json"), meta)
}

func TestEndpoint(t *testing.T) {
	const meta = `{"Name":"rootless","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///run/user/1000/docker.sock","SkipTLSVerify":false}}}`
	const socket = "unix:///run/user/1000/docker.sock"
	tests := []struct {
		name   string
		env    map[string]string
		config string
		want   string
	}{
		{name: "nothing is configured"},
		{name: "config without context", config: `{"auths":{}}`},
		{name: "current context", config: `{"currentContext":"rootless"}`, want: socket},
		{name: "default context", config: `{"currentContext":"default"}`},
		{name: "DOCKER_CONTEXT wins over config", env: map[string]string{"DOCKER_CONTEXT": "default"}, config: `{"currentContext":"rootless"}`},
		{name: "DOCKER_CONTEXT", env: map[string]string{"DOCKER_CONTEXT": "rootless"}, want: socket},
		{name: "DOCKER_HOST wins", env: map[string]string{"DOCKER_CONTEXT": "rootless", "DOCKER_HOST": "tcp://127.0.0.1:1"}, want: "tcp://127.0.0.1:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := cleanEnv(t)
			writeContext(t, dir, meta)
			if tt.config != "" {
				writeFile(t, filepath.Join(dir, "config.json"), tt.config)
			}
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			if got, err := endpoint(); err != nil || got != tt.want {
				t.Errorf("endpoint() = %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestEndpointInDockerConfig(t *testing.T) {
	cleanEnv(t)
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	writeFile(t, filepath.Join(dir, "config.json"), `{"currentContext":"rootless"}`)
	writeContext(t, dir, `{"Endpoints":{"docker":{"Host":"unix:///x"}}}`)
	if got, err := endpoint(); err != nil || got != "unix:///x" {
		t.Errorf("endpoint() = %q, %v", got, err)
	}
}

// What is wrong with the configuration is an error for a bare word too: which
// Docker was meant is not known, so neither is whether it has the container.
func TestMisconfigured(t *testing.T) {
	tests := []struct {
		name         string
		env          map[string]string
		config, meta string
		want         fault.Code
	}{
		{name: "no such context", env: map[string]string{"DOCKER_CONTEXT": "nosuch"}, want: fault.Usage},
		{name: "broken config", config: `{"currentContext":`, want: fault.Usage},
		{name: "broken context", config: `{"currentContext":"rootless"}`, meta: `[]`, want: fault.Usage},
		{name: "context without Docker", config: `{"currentContext":"rootless"}`, meta: `{"Endpoints":{}}`, want: fault.Usage},
		{name: "host is no URL", env: map[string]string{"DOCKER_HOST": "docker.sock"}, want: fault.Usage},
		{name: "version is none", env: map[string]string{"DOCKER_API_VERSION": "new"}, want: fault.Usage},
		{name: "certificates are missing", env: map[string]string{"DOCKER_CERT_PATH": "/nonexistent"}, want: fault.Usage},
		{name: "ssh", env: map[string]string{"DOCKER_HOST": "ssh://root@far.example"}, want: fault.Runtime},
		{name: "ssh by context", config: `{"currentContext":"rootless"}`, meta: `{"Endpoints":{"docker":{"Host":"ssh://far"}}}`, want: fault.Runtime},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := cleanEnv(t)
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			if tt.config != "" {
				writeFile(t, filepath.Join(dir, "config.json"), tt.config)
			}
			if tt.meta != "" {
				writeContext(t, dir, tt.meta)
			}
			f := testFinder(t)
			for _, r := range []wordRef{{Name: "web"}, {Runtime: "docker", Name: "web"}} {
				_, err := f.find(context.Background(), r)
				wantFault(t, err, tt.want)
			}
		})
	}
}
