//go:build linux

package host

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// PauseImage is the image of pods, and of containers in them.
const PauseImage = "docker.io/gopipework/pause:1"

// ImportPause makes the image of pods, which sleeps, from the root file system of
// containers.
func (c *Containerd) ImportPause() error {
	archive, err := c.archive()
	if err != nil {
		return err
	}
	path := filepath.Join(c.dir, "pause.tar")
	if err := os.WriteFile(path, archive, 0o600); err != nil {
		return err
	}
	_, err = c.Ctr("-n", podNamespace, "images", "import", "--snapshotter", "native", path)
	return err
}

// archive packs the root file system as "docker save" would.
func (c *Containerd) archive() ([]byte, error) {
	layer, err := c.layer()
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/bin/sleep", "86400"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	if err != nil {
		return nil, err
	}
	manifest := fmt.Appendf(nil, `[{"Config":"config.json","RepoTags":[%q],"Layers":["layer.tar"]}]`, PauseImage)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range map[string][]byte{"config.json": config, "layer.tar": layer, "manifest.json": manifest} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(text); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}

func (c *Containerd) layer() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.AddFS(noLinks{os.DirFS(c.Rootfs())}); err != nil {
		return nil, err
	}
	for _, applet := range []string{"sleep", "sh"} {
		header := &tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox", Mode: 0o777}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}

// noLinks is a file system without its symbolic links, which tar.AddFS of an
// os.DirFS may refuse.
type noLinks struct{ fs.FS }

func (n noLinks) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := fs.ReadDir(n.FS, name)
	var kept []fs.DirEntry
	for _, e := range all {
		if e.Type()&fs.ModeSymlink == 0 {
			kept = append(kept, e)
		}
	}
	return kept, err
}
