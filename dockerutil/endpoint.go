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

// endpoint returns where Docker listens, chosen as the docker command chooses:
// DOCKER_HOST, else the context named by DOCKER_CONTEXT, else the one that
// "docker context use" has set. Empty is the client's default.
//
// A context's TLS files are not read: they are for daemons on other machines,
// whose namespaces are out of reach.
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

// contextName returns the name of the context in use, "" for none.
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

// contextHost returns the endpoint of a context. Its file is found by the hash
// of its name, so a name needs no checking before it becomes part of a path.
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

// configDir returns the docker command's directory. Without DOCKER_CONFIG and
// HOME nobody has configured anything: the path then names no file.
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

// maxConfig is far more than a configuration has.
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
