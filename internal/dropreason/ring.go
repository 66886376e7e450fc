package dropreason

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is the memory that the kernel writes the events of one processor into
// (perf_event_open(2), "MMAP layout").
type ring struct {
	fd   int
	page *unix.PerfEventMmapPage
	all  []byte
	data []byte
}

// ringPages is the size of a ring: room for about 2,000 drops. It is a power of two.
const ringPages = 32

func openRing(id uint64, cpu int) (*ring, error) {
	attr := &unix.PerfEventAttr{
		Type:        unix.PERF_TYPE_TRACEPOINT,
		Size:        uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Config:      id,
		Sample:      1, // every one
		Sample_type: unix.PERF_SAMPLE_TID | unix.PERF_SAMPLE_RAW,
	}
	fd, err := unix.PerfEventOpen(attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("perf_event_open", err)
	}
	r := &ring{fd: fd}
	size := os.Getpagesize()
	if r.all, err = unix.Mmap(fd, 0, (1+ringPages)*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("mmap", err)
	}
	r.page = (*unix.PerfEventMmapPage)(unsafe.Pointer(&r.all[0]))
	r.data = r.all[size:]
	return r, nil
}

// stop has the kernel write no more.
func (r *ring) stop() { _ = unix.IoctlSetInt(r.fd, unix.PERF_EVENT_IOC_DISABLE, 0) }

func (r *ring) close() {
	_ = unix.Munmap(r.all)
	unix.Close(r.fd)
}

// read hands over what stands in the ring, and reports whether it is full: then there may
// have been more. The kernel writes a record of what it has lost only before the next event
// that there is room for, and its count of all events is higher than that of the records
// now and then, though none is lost.
func (r *ring) read(each func(pid uint32, raw []byte)) (full bool) {
	const header, sampleHead = 8, 12 // type, misc, size; pid, tid, size of raw
	tail, head := r.page.Data_tail, atomic.LoadUint64(&r.page.Data_head)
	free := uint64(len(r.data)) - (head - tail)
	largest := uint64(0)
	for tail+header <= head {
		h := r.copy(tail, header)
		size := uint64(binary.NativeEndian.Uint16(h[6:]))
		if size < header || tail+size > head {
			break
		}
		body := r.copy(tail+header, size-header)
		tail += size
		largest = max(largest, size)
		if binary.NativeEndian.Uint32(h) == unix.PERF_RECORD_SAMPLE && len(body) >= sampleHead {
			n := min(int(binary.NativeEndian.Uint32(body[8:])), len(body)-sampleHead)
			each(binary.NativeEndian.Uint32(body), body[sampleHead:sampleHead+n])
		}
	}
	return free <= largest
}

// copy returns n bytes from a position on, which goes round the ring.
func (r *ring) copy(from, n uint64) []byte {
	out := make([]byte, 0, n)
	at := from % uint64(len(r.data))
	first := min(n, uint64(len(r.data))-at)
	out = append(out, r.data[at:at+first]...)
	return append(out, r.data[:n-first]...)
}

// onlineCPUs are the processors that are in use.
func onlineCPUs() ([]int, error) {
	b, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return nil, err
	}
	return parseCPUs(strings.TrimSpace(string(b)))
}

// parseCPUs reads "0-3,8".
func parseCPUs(list string) (cpus []int, err error) {
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, err := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil || a < 0 || b < a || b > 1<<16 {
			return nil, fmt.Errorf("read list of processors: %q makes no sense", list)
		}
		for i := a; i <= b; i++ {
			cpus = append(cpus, i)
		}
	}
	return cpus, nil
}
