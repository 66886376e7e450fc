package dockerutil

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/plainfile"
	"github.com/moby/moby/api/types/container"
)

// What Docker keeps of a container in files of root's, as far as Labels needs it:
//
//	ROOT/containers/ID/config.v2.json                 the container
//	ROOT/image/DRIVER/imagedb/content/sha256/DIGEST   its image
//	ROOT/DRIVER/LAYER/merged                          its root file system, or DRIVER/DIR/LAYER
//
// Docker writes the files whole or not at all, and before it starts the container. It alone
// chooses where a root file system is.

// maxStored bounds such a file, in bytes. It has the command line and the environment, too.
const maxStored = 16 << 20

type (
	storedConfig struct{ Labels map[string]string }

	storedContainer struct {
		ID, Name, Driver string
		Image            string // sha256:DIGEST
		Created          time.Time
		Config           storedConfig
	}
)

// stored is what Docker's files tell about a container. An error: they do not tell it.
func (l *Labels) stored(id, rootfs string, whole bool) (one Labelled, err error) {
	if !filepath.IsAbs(rootfs) || !isID(id) {
		return one, errors.New("it is in no place where Docker has containers")
	}
	root := filepath.Join(rootfs, "../../..")
	var c storedContainer
	err = readStored(&c, root, "containers", id, "config.v2.json")
	if err == nil && (c.ID != id || !isName(strings.TrimPrefix(c.Name, "/"))) {
		err = errors.New("it is kept in a form that is not known")
	}
	if err != nil {
		return one, err
	}
	summary := container.Summary{ID: c.ID, Names: []string{c.Name}, Labels: c.Config.Labels, Created: c.Created.Unix()}
	one, err = l.labelled(summary, whole, func() (bool, error) {
		var image struct {
			Config *storedConfig // nil: what was read is no image
		}
		digest := strings.TrimPrefix(c.Image, "sha256:")
		if !isID(digest) || !isName(c.Driver) {
			return false, errors.New("it has no image")
		}
		err := readStored(&image, root, "image", c.Driver, "imagedb/content/sha256", digest)
		if err == nil && image.Config == nil {
			err = errors.New("its image is kept in a form that is not known")
		}
		if err != nil {
			return false, err
		}
		_, forged := image.Config.Labels[labelNumber]
		return forged, nil
	})
	one.Runtime = RuntimeDocker
	return one, err
}

func readStored(v any, path ...string) error {
	text, err := plainfile.ReadFile(filepath.Join(path...), maxStored)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}
