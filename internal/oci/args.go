package oci

import (
	"slices"
	"strings"
)

// withValue are the flags of runc, crun and youki that take the next argument: in front of
// the command, and after create.
var withValue = []string{
	"cgroup-manager", "criu", "log", "log-format", "log-level", "root", "rootless",
	"b", "bundle", "console-socket", "pid-file", "pidfd-socket", "preserve-fds",
}

// Creates reports whether the arguments of a runtime have it create a container, and which
// bundle it is made of.
func Creates(args []string) (bundle string, is bool) {
	bundle, command := ".", ""
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return bundle, command == "create"
		case !strings.HasPrefix(arg, "-"):
			if command == "" {
				command = arg
			}
			continue
		}
		name, value, has := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !has && slices.Contains(withValue, name) && i+1 < len(args) {
			i++
			value = args[i]
		}
		if command == "create" && (name == "b" || name == "bundle") {
			bundle = value
		}
	}
	return bundle, command == "create"
}
