//go:build linux && amd64

package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Blow is what happens to a program at one of its system calls that change
// something. They are counted from 1, in the order in which it makes them.
type Blow struct {
	At     int           // 0: none does
	Any    bool          // all system calls count
	After  bool          // when the call has been carried out, rather than before
	Answer bool          // not the call, a netlink request, fails, but receiving the answer
	Signal unix.Signal   // sent to it; SIGKILL ends it there
	Errno  syscall.Errno // that the call returns instead of being carried out
}

// Stepped is what became of a program that was stepped through.
type Stepped struct {
	Result
	Calls []string // that count, up to its end
}

// Step runs a prepared command, under ptrace(2), and deals it a blow. The command
// is the one that Host.Command prepares: what counts begins with the second
// program, which nsenter becomes. Its threads are followed, its children are not.
func Step(cmd *exec.Cmd, blow Blow) (Stepped, error) {
	type answer struct {
		s   Stepped
		err error
	}
	done := make(chan answer)
	go func() {
		runtime.LockOSThread() // ptrace(2) is between threads; this one ends with the goroutine
		s, err := step(cmd, blow)
		done <- answer{s, err}
	}()
	a := <-done
	return a.s, a.err
}

// stepLimit bounds one run; a program that hangs is killed.
const stepLimit = 3 * time.Minute

func step(cmd *exec.Cmd, blow Blow) (Stepped, error) {
	out, err := os.CreateTemp("", "step-")
	if err != nil {
		return Stepped{}, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return Stepped{}, err
	}
	p := &stepper{pid: cmd.Process.Pid, blow: blow, fail: map[int]bool{}}
	timer := time.AfterFunc(stepLimit, func() { _ = unix.Kill(p.pid, unix.SIGKILL) })
	defer timer.Stop()
	status, err := p.run()
	if err != nil {
		_ = unix.Kill(p.pid, unix.SIGKILL)
		return Stepped{}, fmt.Errorf("step: %w", err)
	}
	said, err := os.ReadFile(out.Name())
	r := Result{Args: cmd.Args, Stderr: string(said), Time: time.Since(began), Code: status.ExitStatus()}
	if status.Signaled() {
		r.Code = 128 + int(status.Signal())
	}
	return Stepped{r, p.calls}, err
}

// firstSetns is how many of the namespaces count that a program enters: those
// that it is about come first, and then it looks into all others.
const firstSetns = 3

// stepper is one program on its way.
type stepper struct {
	pid     int
	blow    Blow
	calls   []string
	execs   int
	setns   int          // how many namespaces it has entered
	pending bool         // the call that the blow is for has begun
	tid     int          // of the thread that makes it
	fail    map[int]bool // threads whose call is to return the blow's errno
	deaf    int          // thread that is not to receive what comes next; 0: none
}

func (p *stepper) run() (unix.WaitStatus, error) {
	var status unix.WaitStatus
	if _, err := unix.Wait4(p.pid, &status, unix.WALL, nil); err != nil {
		return status, err
	}
	if err := unix.PtraceSetOptions(p.pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACEEXEC|unix.PTRACE_O_EXITKILL); err != nil {
		return status, err
	}
	tid, deliver := p.pid, 0
	for {
		// A thread may have been killed meanwhile.
		if err := unix.PtraceSyscall(tid, deliver); err != nil && !errors.Is(err, unix.ESRCH) {
			return status, err
		}
		var err error
		if tid, err = unix.Wait4(-p.pid, &status, unix.WALL, nil); errors.Is(err, unix.EINTR) {
			tid, deliver = 0, 0
			continue
		} else if err != nil {
			return status, err
		}
		deliver = 0
		switch {
		case status.Exited(), status.Signaled():
			if tid == p.pid {
				return status, nil
			}
		case !status.Stopped():
		case status.StopSignal() == unix.SIGTRAP|0x80:
			p.call(tid)
		case status.StopSignal() == unix.SIGTRAP:
			if status.TrapCause() == unix.PTRACE_EVENT_EXEC {
				p.execs++
			}
		case status.StopSignal() == unix.SIGSTOP: // a new thread
		default:
			deliver = int(status.StopSignal())
		}
	}
}

// info is struct ptrace_syscall_info, as far as it is of use.
type info struct {
	op   uint8
	_    [3]uint8
	arch uint32
	ip   uint64
	sp   uint64
	nr   uint64 // at the beginning of a call; afterwards what it returns
	args [6]uint64
	_    [8]byte
}

const (
	infoEntry = 1
	infoExit  = 2
)

// call looks at a thread that begins or ends a system call.
func (p *stepper) call(tid int) {
	var i info
	const getInfo = 0x420e // PTRACE_GET_SYSCALL_INFO
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, getInfo, uintptr(tid), unsafe.Sizeof(i), uintptr(unsafe.Pointer(&i)), 0, 0); errno != 0 {
		return
	}
	switch {
	case i.op == infoExit && p.fail[tid]:
		delete(p.fail, tid)
		p.regs(tid, func(r *unix.PtraceRegs) { r.Rax = uint64(-int64(p.blow.Errno)) })
	case i.op == infoExit && p.pending && tid == p.tid:
		p.pending = false
		_ = unix.Kill(p.pid, p.blow.Signal)
	case i.op == infoEntry && tid == p.deaf && i.nr == unix.SYS_RECVFROM:
		p.deaf = 0
		p.refuse(tid)
	case i.op == infoEntry && p.execs > 0:
		what := p.changes(tid, i)
		if what == "" && p.blow.Any {
			what = fmt.Sprintf("system call %d", i.nr)
		}
		if what == "" {
			return
		}
		p.calls = append(p.calls, what)
		if len(p.calls) != p.blow.At {
			return
		}
		switch {
		case p.blow.Answer:
			p.deaf = tid
		case p.blow.Errno != 0:
			p.refuse(tid)
		case p.blow.After:
			p.pending, p.tid = true, tid
		case p.blow.Signal != 0:
			_ = unix.Kill(p.pid, p.blow.Signal)
		}
	}
}

// refuse has the call that a thread begins return the blow's errno.
func (p *stepper) refuse(tid int) {
	p.fail[tid] = true
	p.regs(tid, func(r *unix.PtraceRegs) { r.Orig_rax = ^uint64(0) })
}

func (p *stepper) regs(tid int, change func(*unix.PtraceRegs)) {
	var r unix.PtraceRegs
	if unix.PtraceGetRegs(tid, &r) == nil {
		change(&r)
		_ = unix.PtraceSetRegs(tid, &r)
	}
}

// changes says what a call is that changes something; "" for any other.
func (p *stepper) changes(tid int, i info) string {
	file := func(fd uint64) string {
		path, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, int32(fd)))
		if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "/dev/") || strings.HasPrefix(path, os.TempDir()+"/step-") {
			return ""
		}
		return path
	}
	onFile := func(name string) string {
		if path := file(i.args[0]); path != "" {
			return name + " " + path
		}
		return ""
	}
	switch i.nr {
	case unix.SYS_SENDTO:
		return p.request(tid, i)
	case unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_FTRUNCATE:
		return onFile("write")
	case unix.SYS_OPENAT:
		if i.args[2]&unix.O_CREAT != 0 {
			return "create"
		}
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_RENAME:
		return "rename"
	case unix.SYS_UNLINKAT, unix.SYS_UNLINK, unix.SYS_RMDIR:
		return "unlink"
	case unix.SYS_MKDIRAT, unix.SYS_MKDIR:
		return "mkdir"
	case unix.SYS_LINKAT, unix.SYS_SYMLINKAT:
		return "link"
	case unix.SYS_CLONE:
		if i.args[0]&unix.CLONE_THREAD == 0 {
			return "fork"
		}
	case unix.SYS_CLONE3:
		if b := p.memory(tid, i.args[0], 8); b != nil && binary.LittleEndian.Uint64(b)&unix.CLONE_THREAD == 0 {
			return "fork"
		}
	case unix.SYS_VFORK, unix.SYS_FORK:
		return "fork"
	case unix.SYS_EXECVE:
		return "exec"
	case unix.SYS_SETNS:
		// How many more there are depends on what else runs on the machine.
		if p.setns++; p.setns <= firstSetns {
			return "setns"
		}
	case unix.SYS_BIND:
		if b := p.memory(tid, i.args[1], 2); b != nil && binary.LittleEndian.Uint16(b) == unix.AF_UNIX {
			return "bind"
		}
	case unix.SYS_FSYNC:
		return "fsync"
	case unix.SYS_FLOCK:
		return "flock"
	case unix.SYS_IOCTL:
		const ethtool = 0x8946 // SIOCETHTOOL
		if i.args[1] == ethtool {
			return "ethtool"
		}
	}
	return ""
}

// request says what a netlink request is that does more than ask.
func (p *stepper) request(tid int, i info) string {
	if i.args[5] != unix.SizeofSockaddrNetlink {
		return ""
	}
	b := p.memory(tid, i.args[1], unix.SizeofNlMsghdr)
	if b == nil {
		return ""
	}
	const get = 2 // of the four verbs that rtnetlink has for each object
	typ := binary.LittleEndian.Uint16(b[4:])
	if typ < unix.RTM_BASE || (typ-unix.RTM_BASE)&3 == get {
		return ""
	}
	return fmt.Sprintf("netlink %d", typ)
}

func (p *stepper) memory(tid int, at uint64, n int) []byte {
	b := make([]byte, n)
	if got, err := unix.PtracePeekData(tid, uintptr(at), b); err != nil || got != n {
		return nil
	}
	return b
}

// OwnFiles returns the names of files under /run/gopipework, in whatever state.
func (h *Host) OwnFiles() []string {
	dir := filepath.Join("/proc", fmt.Sprint(h.holder.Process.Pid), "root/run/gopipework")
	entries, _ := os.ReadDir(dir)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
