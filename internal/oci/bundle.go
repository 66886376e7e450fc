package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"syscall"

	"github.com/gopipework/gopipework/internal/fault"
)

// Hook is a program that a runtime runs when something becomes of a container.
type Hook struct {
	Path    string   `json:"path"`
	Args    []string `json:"args,omitempty"` // its own name first
	Env     []string `json:"env,omitempty"`
	Timeout int      `json:"timeout,omitempty"` // in seconds; 0: none
}

// stage is when the hook runs: there is the container's network namespace, and its first
// process is not there yet.
const stage = "createRuntime"

// configName is the file of a bundle that says what is to be created.
const configName = "config.json"

// AddHook adds a hook to a bundle, after those that it has, unless it has it already. What else
// is in its config.json stays as it is, byte for byte.
func AddHook(bundle string, h Hook) error {
	path := filepath.Join(bundle, configName)
	config, err := os.ReadFile(path)
	if err == nil {
		var with []byte
		if with, err = withHook(config, h); err == nil && !bytes.Equal(with, config) {
			err = replace(path, with)
		}
	}
	if err != nil {
		return fault.New(fault.Failed, "add the hook to", path, "%w", err)
	}
	return nil
}

// Rootfs returns the directory that a container's root file system is in, as its bundle has it; "": it
// is not told.
func (s State) Rootfs() string {
	var config struct{ Root struct{ Path string } }
	text, err := os.ReadFile(filepath.Join(s.Bundle, configName))
	if err != nil || json.Unmarshal(text, &config) != nil {
		return ""
	}
	return config.Root.Path
}

func withHook(config []byte, h Hook) ([]byte, error) {
	hooks, err := member(config, "hooks")
	if err != nil {
		return nil, err
	}
	list, err := member(hooks.or("{}"), stage)
	if err != nil {
		return nil, err
	}
	all := []json.RawMessage{}
	if err := json.Unmarshal(list.or("[]"), &all); err != nil {
		return nil, err
	}
	for _, one := range all {
		var is Hook
		if json.Unmarshal(one, &is) == nil && reflect.DeepEqual(is, h) {
			return config, nil
		}
	}
	own, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	more := list.or("[]")
	more = append(more[:len(more)-1:len(more)-1], separated(own, len(all) > 0)...)
	more = append(more, ']')
	return hooks.set(config, "hooks", list.set(hooks.or("{}"), stage, more)), nil
}

func separated(value []byte, comma bool) []byte {
	if comma {
		return append([]byte{','}, value...)
	}
	return value
}

// value is that of a member of a JSON object, and where it stands in its text.
type value struct {
	text     []byte // nil: there is no such member
	from, to int
	open     int  // where the object's first member stands, or would
	others   bool // there are members
}

// member finds a member of an object. Of several with one key the last one counts.
func member(object []byte, key string) (v value, err error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return v, errors.Join(errors.New("it is no JSON object"), err)
	}
	v.open = int(d.InputOffset())
	for d.More() {
		v.others = true
		name, err := d.Token()
		if err != nil {
			return v, err
		}
		var text json.RawMessage
		if err := d.Decode(&text); err != nil {
			return v, err
		}
		if name == key {
			v.to = int(d.InputOffset())
			v.text, v.from = text, v.to-len(text)
		}
	}
	_, err = d.Token() // its end
	return v, err
}

// or returns the text of the value, or what stands for none.
func (v value) or(none string) []byte {
	if v.text == nil || string(v.text) == "null" {
		return []byte(none)
	}
	return v.text
}

// set returns the object with another value in that place.
func (v value) set(object []byte, key string, text []byte) []byte {
	from, to := v.from, v.to
	if v.text == nil {
		from, to = v.open, v.open
		text = append([]byte(`"`+key+`":`), text...)
		if v.others {
			text = append(text, ',')
		}
	}
	return bytes.Join([][]byte{object[:from], text, object[to:]}, nil)
}

// replace writes a file anew, with its owner and mode. Whoever reads it meanwhile gets the old
// text or the new one.
func replace(path string, text []byte) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".config.json-")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if owner, ok := st.Sys().(*syscall.Stat_t); ok {
		err = errors.Join(err, f.Chown(int(owner.Uid), int(owner.Gid)))
	}
	err = errors.Join(err, f.Chmod(st.Mode().Perm()), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
