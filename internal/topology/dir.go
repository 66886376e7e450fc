package topology

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
)

// The names of a directory's files: those that end so are topologies, but for the one
// that says what others may ask for.
const (
	fileEnding = ".yaml"
	policyFile = "policy.yaml"
)

// Files returns the topology files at a path: those of a directory in the order of their
// names, or else the path itself. Hidden files, such as those of an editor, are none.
func Files(path string) ([]string, error) {
	if st, err := os.Stat(path); err != nil || !st.IsDir() {
		return []string{path}, nil // reading it tells what is wrong
	}
	files, err := InDirectory(path)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fault.New(fault.Invalid, "read", path, "the directory has no file that ends in %s", fileEnding).
			WithHint("gopipework import prints a file for what is attached now")
	}
	return files, nil
}

// InDirectory returns the topology files in a directory, in the order of their names; there
// may be none. That there is no directory is an fs.ErrNotExist.
func InDirectory(path string) (files []string, err error) {
	all, err := os.ReadDir(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	for _, e := range all {
		if name := e.Name(); !e.IsDir() && filepath.Ext(name) == fileEnding && !strings.HasPrefix(name, ".") && name != policyFile {
			files = append(files, filepath.Join(path, name))
		}
	}
	return files, nil // os.ReadDir has sorted them
}
