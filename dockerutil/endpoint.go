package dockerutil

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/client"

	"github.com/gopipework/gopipework/internal/plainfile"
)

// endpoint returns where Docker listens, by the same rules as the docker command:
// DOCKER_HOST, else the context that DOCKER_CONTEXT names, else the one that "docker
// context use" has set. An empty string means the client's default.
//
// The TLS files of a context are not read. They are for daemons on other machines, whose
// namespaces are out of reach.
func endpoint() (string, error) {
	host := os.Getenv(client.EnvOverrideHost)
	if host == "" {
		name, err := contextName()
		if err != nil {
			return "", err
		}
		if host, err = contextHost(name); err != nil {
			return "", fmt.Errorf("context %q: %w", name, err)
		}
	}
	if strings.HasPrefix(host, "ssh://") {
		return "", fmt.Errorf("%s: %w", host, errElsewhere)
	}
	return host, nil
}

// contextName returns the name of the context in use, or "".
func contextName() (string, error) {
	if name := os.Getenv("DOCKER_CONTEXT"); name != "" {
		return name, nil
	}
	var config struct {
		CurrentContext string `json:"currentContext"`
	}
	err := readJSON(filepath.Join(configDir(), "config.json"), &config)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return config.CurrentContext, nil
}

// contextHost returns the endpoint of a context. The path of its file contains a hash of
// the name, so any name is safe.
func contextHost(name string) (string, error) {
	if name == "" || name == "default" {
		return "", nil
	}
	sum := sha256.Sum256([]byte(name))
	path := filepath.Join(configDir(), "contexts", "meta", hex.EncodeToString(sum[:]), "meta.json")
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	if err := readJSON(path, &meta); err != nil {
		return "", err
	}
	host := meta.Endpoints["docker"].Host
	if host == "" {
		return "", fmt.Errorf("%s: no Docker endpoint", path)
	}
	return host, nil
}

// configDir returns the directory of the docker command's configuration. Without
// DOCKER_CONFIG and HOME there is none, and the path names nothing.
func configDir() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "/nonexistent"
	}
	return filepath.Join(home, ".docker")
}

// maxConfig bounds a configuration file in bytes.
const maxConfig = 1 << 20

func readJSON(path string, into any) error {
	text, err := plainfile.ReadFile(path, maxConfig)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
