package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/gopipework/gopipework/internal/hosttool"
	"golang.org/x/sys/unix"
)

// The programs that speak to Open vSwitch. They run in the calling thread's network
// namespace, and each run is bounded by [hosttool.Timeout].

// vsctl runs ovs-vsctl, which speaks to the database. It finds out first, for next to
// nothing, whether there is one.
func vsctl(ctx context.Context, args ...string) (string, error) {
	if err := dialOVS(ctx); err != nil {
		return "", err
	}
	return runOVS(ctx, "ovs-vsctl", args...)
}

// appctl runs ovs-appctl, which speaks to ovs-vswitchd itself.
func appctl(ctx context.Context, args ...string) (string, error) {
	return runOVS(ctx, "ovs-appctl", append([]string{"-vconsole:off"}, args...)...) // its log repeats the error
}

func runOVS(ctx context.Context, program string, args ...string) (string, error) {
	bin, err := findOVS(program)
	if err != nil {
		return "", err
	}
	// This ends a program that outlives us; one that does not is ended by hosttool.Run,
	// earlier.
	outlived := fmt.Sprintf("--timeout=%.0f", 2*hosttool.Timeout.Seconds())
	return hosttool.Run(ctx, bin, append([]string{outlived}, args...)...)
}

// missingOVSError says why there is no Open vSwitch here.
type missingOVSError struct{ why string }

func (e *missingOVSError) Error() string { return e.why }

func dialOVS(ctx context.Context) error {
	socket := filepath.Join(runDirOVS(), "db.sock")
	c, err := (&net.Dialer{Timeout: hosttool.Timeout}).DialContext(ctx, "unix", socket)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ECONNREFUSED):
		return &missingOVSError{"no ovsdb-server answers at " + socket}
	case err != nil:
		return err
	}
	return c.Close()
}

func runDirOVS() string {
	if dir := os.Getenv("OVS_RUNDIR"); dir != "" {
		return dir
	}
	return "/var/run/openvswitch"
}

// findOVS finds a program also with a PATH that lacks its directory.
func findOVS(program string) (string, error) {
	for _, file := range []string{program, "/usr/bin/" + program, "/usr/local/bin/" + program} {
		if path, err := exec.LookPath(file); err == nil {
			return path, nil
		}
	}
	return "", &missingOVSError{"ovsdb-server runs, but no program " + program + " is installed"}
}
