package guestnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/rundir"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// A guest's /etc/resolv.conf, and the note of what was in it.

const resolvSuffix = ".dns.json"

func file(n build.ResolvNote) string { return fmt.Sprintf("%d%s", n.GuestNS, resolvSuffix) }

// save writes the note down.
func save(n build.ResolvNote) error { return noted(n, rundir.Put(ours.RunDir, file(n), n)) }

// forget strikes it out.
func forget(n build.ResolvNote) error { return noted(n, rundir.Drop(ours.RunDir, file(n))) }

func noted(n build.ResolvNote, err error) error {
	return fault.Explain("save in "+ours.RunDir, "the name servers before "+n.IfName, err)
}

// ResolvNoteOf returns that of a guest, by its namespace's cookie; nil: none.
func ResolvNoteOf(cookie uint64) (n *build.ResolvNote, err error) {
	err = rundir.View(ours.RunDir, func(d *rundir.Dir) error {
		was := build.ResolvNote{GuestNS: cookie}
		name := file(was)
		switch err := d.Read(name, &was); {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return fault.New(fault.Failed, "read", ours.RunDir+"/"+name, "%w", err).
				WithHint("it holds the previous content of a guest's resolv.conf; once that is as it should be, delete this file")
		}
		n = &was
		return nil
	})
	return n, fault.Explain("open", ours.RunDir, err)
}

// ResolvNotes returns those of all guests that can be read.
func ResolvNotes() (all []build.ResolvNote, err error) {
	err = rundir.View(ours.RunDir, func(d *rundir.Dir) error {
		names, err := d.Names(resolvSuffix)
		for _, name := range names {
			var n build.ResolvNote
			if d.Read(name, &n) == nil && file(n) == name {
				all = append(all, n)
			}
		}
		return fault.Explain("read", ours.RunDir, err)
	})
	return all, fault.Explain("open", ours.RunDir, err)
}

// LeftResolvNotes returns those whose guests have ended.
func LeftResolvNotes() ([]build.ResolvNote, error) {
	all, err := ResolvNotes()
	return slices.DeleteFunc(all, alive), err
}

// DropNote strikes out the note of a guest that has ended, and its file with it.
type DropNote struct{ Note build.ResolvNote }

func (s DropNote) Do(context.Context, *plan.Machine) error   { return forget(s.Note) }
func (s DropNote) Undo(context.Context, *plan.Machine) error { return save(s.Note) }
func (DropNote) Nature() plan.Nature                         { return plan.Undoable }
func (s DropNote) String() string                            { return "rm " + ours.RunDir + "/" + file(s.Note) }

// Torn are the names of files that a killed run was writing.
func Torn() (names []string, err error) {
	err = rundir.View(ours.RunDir, func(d *rundir.Dir) (err error) { names, err = d.Torn(); return err })
	return names, fault.Explain("open", ours.RunDir, err)
}

// DropTorn removes such a file.
type DropTorn struct{ Name string }

func (s DropTorn) Do(context.Context, *plan.Machine) error {
	err := rundir.View(ours.RunDir, func(d *rundir.Dir) error { return d.RemoveTorn(s.Name) })
	return fault.IgnoreAbsent("remove", ours.RunDir+"/"+s.Name, err)
}

func (s DropTorn) Undo(context.Context, *plan.Machine) error { return nil }
func (DropTorn) Nature() plan.Nature                         { return plan.Final }
func (s DropTorn) String() string                            { return "rm " + ours.RunDir + "/" + shell.Quote(s.Name) }

// alive reports whether the process whose file it was still has the namespace, or cannot be
// seen from here.
func alive(n build.ResolvNote) bool {
	if !nsfs.Counts(n.PIDs) {
		return true
	}
	ns, err := nsfs.Open(fmt.Sprintf("/proc/%d/ns/net", n.PID), 0)
	if err != nil {
		return false
	}
	defer ns.Close()
	k, err := rtnl.Open(ns)
	if err != nil {
		return true // it cannot be told
	}
	defer k.Close()
	cookie, err := k.Cookie()
	return err != nil || cookie == n.GuestNS
}

// written opens the guest's file if it holds what was written there; nil if
// somebody has changed it since, deleted it, or put something else there, or
// if the process whose file it was has ended. A guest can do any of that, and
// must not keep its interface by it. An error says that it cannot be told.
func written(n build.ResolvNote, g guests.Guest, write bool) (*os.File, error) {
	g.PID = n.PID
	f, err := openResolv(g, write)
	switch code := fault.CodeOf(err); {
	case err == nil:
	case code == fault.Gone, code == fault.Conflict, errors.Is(err, fs.ErrNotExist),
		errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG):
		return nil, nil
	default:
		return nil, err
	}
	now, err := readResolv(f)
	if err == nil && Ours(n, now) {
		return f, nil
	}
	f.Close()
	if err != nil && !errors.Is(err, errTooLarge) {
		return nil, fault.Explain("read", "/etc/resolv.conf of "+g.Name, err)
	}
	return nil, nil
}

// Ours reports whether a file is as it was written, or as it was before; also half
// way from one to the other, where a killed run has not cut off the rest.
func Ours(n build.ResolvNote, now []byte) bool {
	over := func(b, old []byte) []byte { return append(slices.Clone(b), old[min(len(b), len(old)):]...) }
	return slices.ContainsFunc([][]byte{n.After, n.Before, over(n.After, n.Before), over(n.Before, n.After)},
		func(b []byte) bool { return bytes.Equal(now, b) })
}

// openResolv opens /etc/resolv.conf in the root of the guest's process, to read it
// and, if so asked, to write it. Links of the guest's lead nowhere else
// (openat2(2)): it is never a file that the host reads. Nor is it anything but a
// file: what it is is looked at before it is opened, for to open a device can do
// something by itself.
func openResolv(g guests.Guest, write bool) (*os.File, error) {
	op, object := "open", "/etc/resolv.conf of "+g.Name
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", g.PID), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return nil, fault.New(fault.Gone, op, object, "its process has ended")
	}
	if err != nil {
		return nil, fault.Explain(op, object, err)
	}
	defer unix.Close(root)
	var ns unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", g.PID), &ns); err != nil || ns.Ino != g.NetNS {
		return nil, fault.New(fault.Gone, op, object, "its process has ended, or left its network")
	}
	path, err := unix.Openat2(root, "etc/resolv.conf", &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, fault.New(fault.Failed, op, object, "there is none: %w", fs.ErrNotExist)
	case errors.Is(err, unix.ENOSYS):
		return nil, fault.New(fault.Unsupported, op, object, "openat2 needs Linux 5.6")
	case err != nil:
		return nil, fault.Explain(op, object, err)
	}
	defer unix.Close(path)
	if err := ownFile(path, g.PID); err != nil {
		return nil, fault.New(fault.Conflict, op, object, "%w", err)
	}
	mode := os.O_RDONLY
	if write {
		mode = os.O_RDWR
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", path), mode|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		err = p.Err // the path is ours
	}
	if errors.Is(err, unix.EROFS) {
		return nil, build.WithHint(fault.Explain(op, object, err), "leave --dns out, or run the container with a writable file system, without --read-only")
	}
	return f, fault.Explain(op, object, err)
}

// pseudo are the file systems whose files keep nothing of what is written to
// them, or do something else by it.
var pseudo = []int64{
	unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC,
	unix.SELINUX_MAGIC, unix.SMACK_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.BPF_FS_MAGIC,
	unix.PSTOREFS_MAGIC, unix.EFIVARFS_MAGIC, unix.BINFMTFS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.NSFS_MAGIC,
	unix.SOCKFS_MAGIC, unix.PIPEFS_MAGIC, unix.ANON_INODE_FS_MAGIC, unix.RDTGROUP_SUPER_MAGIC,
	configfsMagic, mqueueMagic, fusectlMagic,
}

// Those that have no name in the library (magic.h; mqueue.c; fusectl in fuse_i.h).
const (
	configfsMagic = 0x62656570
	mqueueMagic   = 0x19800202
	fusectlMagic  = 0x65735543
)

// ownFile refuses what is no file, what the kernel makes up, the host's own, and what the guest's root could
// not write itself: with a user namespace, that may be a file of the host's that
// was mounted for it to read.
func ownFile(fd, pid int) error {
	var st, hosts unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("it is not a file")
	}
	var mount unix.Statfs_t
	if err := unix.Fstatfs(fd, &mount); err != nil {
		return err
	}
	if slices.Contains(pseudo, int64(mount.Type)) {
		return errors.New("it is not a file on a disk, but one that the kernel generates")
	}
	if unix.Stat("/etc/resolv.conf", &hosts) == nil && hosts.Dev == st.Dev && hosts.Ino == st.Ino {
		return errors.New("it is the host's: the guest has no files of its own")
	}
	root, err := rootOf(pid)
	if err == nil && st.Uid != root {
		err = fmt.Errorf("it belongs to the user %d of the host, not to the guest's root", st.Uid)
	}
	return err
}

// rootOf returns which user of the host root of a process's user namespace is
// (user_namespaces(7), uid_map).
func rootOf(pid int) (uint32, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		var inside, outside, count uint32
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err == nil && inside == 0 && count > 0 {
			return outside, nil
		}
	}
	return 0, errors.New("the guest has no root")
}

// maxResolv is more than any resolver reads.
const maxResolv = 64 << 10

var errTooLarge = fmt.Errorf("it is larger than %d bytes", maxResolv)

func readResolv(f *os.File) ([]byte, error) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxResolv+1))
	if err == nil && len(b) > maxResolv {
		err = errTooLarge
	}
	return b, err
}

// overwrite writes in place: an engine has mounted this very file there.
func overwrite(f *os.File, b []byte) error {
	_, err := f.WriteAt(b, 0)
	if err == nil {
		err = f.Truncate(int64(len(b)))
	}
	return err
}

// Resolv returns a resolv.conf(5) with other name servers and, if there are any,
// other domains to search; other lines stay.
func Resolv(before []byte, servers []netip.Addr, search []string) []byte {
	var out strings.Builder
	for line := range strings.Lines(string(before)) {
		f := strings.Fields(line)
		if len(f) > 0 && (f[0] == "nameserver" || len(search) > 0 && (f[0] == "search" || f[0] == "domain")) {
			continue
		}
		out.WriteString(strings.TrimRight(line, "\n") + "\n")
	}
	if len(search) > 0 {
		out.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	for _, s := range servers {
		out.WriteString("nameserver " + s.String() + "\n")
	}
	return []byte(out.String())
}
