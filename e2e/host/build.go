//go:build linux

package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gopipework/gopipework/e2e/program"
)

// Scratch makes a directory that goes when remove is called, or when this
// program ends, in whatever way.
func Scratch() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp("", "gopipework-e2e-")
	if err != nil {
		return "", nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", nil, err
	}
	// Its input ends with us.
	broom := program.Command("sh", "-c", `cat >/dev/null; rm -rf "$1"`, "sh", dir)
	broom.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := broom.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	if err := broom.Start(); err != nil {
		return "", nil, err
	}
	return dir, func() { in.Close(); _ = broom.Wait() }, nil
}

// Build builds the program into dir, as make build does: one static file.
func Build(dir string) (binary string, err error) {
	if binary, err = BuildPackage(dir, "gopipework", "./cmd/gopipework"); err != nil {
		return "", err
	}
	return binary, os.Symlink("gopipework", filepath.Join(dir, "pipework"))
}

// BuildCNI builds cnitool and the plugins of the CNI project into dir: what the module in
// e2e/cniparts lists as its tools.
func BuildCNI(dir string) error {
	cmd := program.Command("go", "build", "-trimpath", "-o", dir+"/", "tool")
	cmd.Dir = "cniparts" // the tests run in e2e
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the parts of CNI: %w\n%s", err, out)
	}
	return nil
}

// BuildManifests builds the program of the module in e2e/manifests into dir.
func BuildManifests(dir string) (binary string, err error) {
	binary = filepath.Join(dir, "manifests")
	cmd := program.Command("go", "build", "-o", binary, ".")
	cmd.Dir = "manifests" // the tests run in e2e
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build what reads manifests: %w\n%s", err, out)
	}
	return binary, nil
}

// BuildPackage builds a package of the module into dir, in the same way.
func BuildPackage(dir, name, pkg string) (binary string, err error) {
	root, err := program.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	binary = filepath.Join(dir, name)
	cmd := program.Command("go", "build", "-tags", "urfave_cli_no_docs", "-trimpath", "-ldflags", "-s -w", "-o", binary, pkg)
	cmd.Dir = strings.TrimSpace(string(root))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return binary, nil
}
