package dropreason

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"

	"github.com/gopipework/gopipework/internal/fault"
	"golang.org/x/sys/unix"
)

// event is the tracepoint as this kernel has it: the fields differ from one version to the
// next, and so do the numbers of the reasons.
type event struct {
	id                 uint64
	at, cause, carried field // location, reason, protocol
	reasons            map[uint32]string
}

// field is where a value stands in a record.
type field struct{ offset, size int }

// sample is what a record says.
type sample struct {
	location uint64
	reason   uint32
	protocol uint16
	own      bool
}

const eventDir = "events/skb/kfree_skb"

// readEvent reads what the tracepoint is called and how its records are laid out.
func readEvent() (event, error) {
	dir, err := tracefs()
	if err != nil {
		return event{}, err
	}
	defer unix.Close(dir)
	text, err := readAt(dir, eventDir+"/format")
	if err != nil {
		return event{}, err
	}
	return parseEvent(text)
}

// tracefs opens the directory of tracefs: where it is mounted, or else a mount that only
// its descriptor leads to (fsmount(2), Linux 5.2).
func tracefs() (fd int, err error) {
	const usual = "/sys/kernel/tracing"
	if fd, err = unix.Open(usual, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		var st unix.Statfs_t
		if unix.Fstatfs(fd, &st) == nil && int64(st.Type) == unix.TRACEFS_MAGIC {
			return fd, nil
		}
		unix.Close(fd)
	}
	fs, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, os.NewSyscallError("fsconfig", err)
	}
	fd, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
	return fd, os.NewSyscallError("fsmount", err)
}

func readAt(dir int, path string) (string, error) {
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: "tracefs " + path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	b, err := io.ReadAll(f)
	return string(b), err
}

// parseEvent reads a format file (Documentation/trace/events.rst, "Event formats").
func parseEvent(text string) (event, error) {
	var (
		formatID     = regexp.MustCompile(`(?m)^ID: (\d+)$`)
		formatField  = regexp.MustCompile(`(?m)^\s*field:[^;]*\b(\w+);\s*offset:(\d+);\s*size:(\d+);`)
		formatReason = regexp.MustCompile(`\{ *(0[xX][0-9a-fA-F]+|\d+), *"(\w+)" *\}`)
	)
	e := event{reasons: map[uint32]string{}}
	if m := formatID.FindStringSubmatch(text); m != nil {
		e.id, _ = strconv.ParseUint(m[1], 10, 64)
	}
	fields := map[string]field{}
	for _, m := range formatField.FindAllStringSubmatch(text, -1) {
		offset, _ := strconv.Atoi(m[2])
		size, _ := strconv.Atoi(m[3])
		fields[m[1]] = field{offset, size}
	}
	e.at, e.cause, e.carried = fields["location"], fields["reason"], fields["protocol"]
	if e.id == 0 || e.at.size != 8 && e.at.size != 4 || e.cause.size != 4 {
		return event{}, fault.New(fault.Unsupported, "listen for dropped packets", "", "this kernel gives no reason for them (Linux 5.17)")
	}
	for _, m := range formatReason.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseUint(m[1], 0, 32)
		if err == nil {
			e.reasons[uint32(n)] = m[2]
		}
	}
	return e, nil
}

// reason is the kernel's word for a number. Those of its parts, such as Open vSwitch, have
// none here.
func (e event) reason(n uint32) string {
	if word, ok := e.reasons[n]; ok {
		return word
	}
	return fmt.Sprintf("%#x", n)
}

// sample reads a record.
func (e event) sample(raw []byte) (sample, bool) {
	number := func(f field) uint64 {
		if f.offset+f.size > len(raw) {
			return 0
		}
		switch b := raw[f.offset:]; f.size {
		case 2:
			return uint64(binary.NativeEndian.Uint16(b))
		case 4:
			return uint64(binary.NativeEndian.Uint32(b))
		case 8:
			return binary.NativeEndian.Uint64(b)
		}
		return 0
	}
	if e.at.offset+e.at.size > len(raw) || e.cause.offset+e.cause.size > len(raw) {
		return sample{}, false
	}
	return sample{location: number(e.at), reason: uint32(number(e.cause)), protocol: uint16(number(e.carried))}, true
}
