// Command image writes a container image with one static program in it, and nothing else but
// the link from /var/run to /run.
// The file is an archive in OCI's layout, which podman, skopeo and containerd read; Docker
// reads it by the manifest.json that "docker save" writes as well.
package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	arch := flag.String("arch", "amd64", "the `architecture` of the program, as Go calls it")
	version := flag.String("version", "devel", "the tag of the image")
	made := flag.String("time", "", "when it was made (RFC 3339)")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: image -arch ARCH -version VERSION -time TIME PROGRAM ARCHIVE")
		os.Exit(2)
	}
	if err := run(*arch, *version, *made, flag.Arg(0), flag.Arg(1)); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(arch, version, made, program, archive string) error {
	at, err := time.Parse(time.RFC3339, made)
	if err != nil {
		return err
	}
	img, err := image(arch, version, at, program)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := write(dir, img, "gopipework:"+version); err != nil {
		return err
	}
	return pack(dir, at, archive)
}

// image is the program as an image.
func image(arch, version string, at time.Time, program string) (v1.Image, error) {
	binary, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	if err := w.WriteHeader(&tar.Header{Name: "gopipework", Mode: 0o755, Size: int64(len(binary)), ModTime: at, Format: tar.FormatPAX}); err != nil {
		return nil, err
	}
	if _, err := w.Write(binary); err != nil {
		return nil, err
	}
	// Engines name their sockets and namespaces by this path. A directory that has no entry gets
	// mode 0600 from Docker 20.10, and is closed even to root without CAP_DAC_OVERRIDE.
	if err := w.WriteHeader(&tar.Header{Name: "var/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: at, Format: tar.FormatPAX}); err != nil {
		return nil, err
	}
	if err := w.WriteHeader(&tar.Header{Name: "var/run", Linkname: "/run", Typeflag: tar.TypeSymlink, Mode: 0o777, ModTime: at, Format: tar.FormatPAX}); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: at}, CreatedBy: "COPY gopipework /"},
	})
	if err != nil {
		return nil, err
	}
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	return mutate.ConfigFile(img, with(img, func(c *v1.ConfigFile) {
		c.Architecture, c.OS, c.Created = arch, "linux", v1.Time{Time: at}
		c.Config = v1.Config{
			Entrypoint: []string{"/gopipework", "--on-host"},
			Labels: map[string]string{
				"org.opencontainers.image.title":    "gopipework",
				"org.opencontainers.image.version":  version,
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
		}
	}))
}

// with is the image's configuration, changed.
func with(img v1.Image, change func(*v1.ConfigFile)) *v1.ConfigFile {
	c, err := img.ConfigFile()
	if err != nil {
		panic(err) // it is in memory
	}
	c = c.DeepCopy()
	change(c)
	return c
}

// write lays the image out in a directory, as OCI does, with the file that Docker reads.
func write(dir string, img v1.Image, tag string) error {
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := l.AppendImage(img, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": tag,
	})); err != nil {
		return err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return err
	}
	blob := func(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }
	docker := []tarball.Descriptor{{Config: blob(manifest.Config.Digest), RepoTags: []string{tag}}}
	for _, l := range manifest.Layers {
		docker[0].Layers = append(docker[0].Layers, blob(l.Digest))
	}
	text, err := json.Marshal(docker)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "manifest.json"), text, 0o644)
}

// pack writes the directory into an archive, in the order of the names and at one time.
func pack(dir string, at time.Time, archive string) (err error) {
	out, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer func() {
		if closed := out.Close(); err == nil {
			err = closed
		}
	}()
	w := tar.NewWriter(out)
	root := os.DirFS(dir)
	if err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || path == ".":
			return err
		case d.IsDir():
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: path + "/", Mode: 0o755, ModTime: at})
		}
		text, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(text)), ModTime: at}); err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}); err != nil {
		return err
	}
	return w.Close()
}
