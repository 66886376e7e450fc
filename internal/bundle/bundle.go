// Package bundle collects what is known of a host's network and its guests' into one
// archive for a bug report, with addresses and names masked if that is wanted.
//
//	bundle.go   the archive
//	collect.go  what is in it
//	mask.go     addresses and names
package bundle

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return fault.New(fault.NotFound, "write", path, "%w", err)
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
	now := time.Now()
	for _, f := range files {
		h, err := tarHeader(dir+f.Name, len(f.Data), now)
		if err != nil {
			return nil, err
		}
		padding := make([]byte, -len(f.Data)&(tarBlock-1))
		if _, err := z.Write(slices.Concat(h, f.Data, padding)); err != nil {
			return nil, err
		}
	}
	_, err := z.Write(make([]byte, 2*tarBlock))
	err = errors.Join(err, z.Close())
	return out.Bytes(), err
}

const tarBlock = 512

// tarHeader is that of a plain file (POSIX.1, ustar Interchange Format). Package archive/tar
// would have its own work to do at the start of every run.
func tarHeader(name string, size int, at time.Time) ([]byte, error) {
	const nameLen, modeAt, sumAt, magicAt = 100, 100, 148, 257
	if len(name) > nameLen {
		return nil, fmt.Errorf("%s: the name is too long for the archive", name)
	}
	h := make([]byte, tarBlock)
	copy(h, name)
	// Mode, owner, group, size, time, the sum (which counts itself as blanks), and a plain file.
	copy(h[modeAt:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00%8s0", 0o600, 0, 0, size, at.Unix(), ""))
	copy(h[magicAt:], "ustar\x0000")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[sumAt:], fmt.Sprintf("%06o\x00", sum))
	return h, nil
}
