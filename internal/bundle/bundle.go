// Package bundle collects what is known of a host's network and its guests' into one
// archive for a bug report, with addresses and names masked if that is wanted.
//
//	bundle.go   the archive
//	collect.go  what is in it
//	mask.go     addresses and names
package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
)

// File is one in the archive.
type File struct {
	Name string // "host/links.txt"
	Data []byte
}

// dir is what all files of an archive are in.
const dir = "gopipework-bundle/"

// Free refuses a path at which there is something: an archive replaces nothing.
func Free(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return exists(path)
	}
	return nil
}

func exists(path string) error {
	return fault.New(fault.Conflict, "write", path, "it exists already").WithHint("choose another name, or delete it: rm %s", path)
}

// Write writes the files to a new archive, which only its owner can read.
func Write(path string, files []File) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return exists(path)
	}
	if err != nil {
		return fault.New(fault.Failed, "write", path, "%w", err)
	}
	packed, err := pack(files)
	if err == nil {
		_, err = f.Write(packed)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(path)
		return fault.New(fault.Failed, "write", path, "%w", err)
	}
	return nil
}

func pack(files []File) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	now := time.Now().Truncate(time.Second)
	for _, f := range files {
		h := &tar.Header{Name: dir + f.Name, Mode: 0o600, Size: int64(len(f.Data)), ModTime: now, Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := t.Write(f.Data); err != nil {
			return nil, err
		}
	}
	err := errors.Join(t.Close(), z.Close())
	return out.Bytes(), err
}
