// Package valve keeps a program from waiting for whoever reads its output: of a pipe that stays full the oldest half is
// dropped. So the pipe itself is a ring, which costs nothing but what is in it.
//
// The shim watches, for it outlives the engine; the engine asks what was lost. They meet in a file beside the pipe, which is
// there from the first loss on, and in which either writes only its own of two numbers. It promises that what a reader
// takes up within Patience is never dropped, and that the newest quarter of a pipe never is.
package valve

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Size is what a pipe holds in bytes, where the kernel lets it.
const Size = 1 << 20

// Patience is how long a pipe may be full before something is dropped. Then it may be only for a tick, until for a while
// nothing had to be dropped.
const (
	Patience = 2 * time.Second
	tick     = 100 * time.Millisecond
	while    = time.Minute
)

// Valve is a pipe that is watched.
type Valve struct {
	path string
	pipe *os.File // its reading end
	raw  syscall.RawConn
	void *os.File
	size int
	lost uint64

	patience time.Duration
}

// New widens the pipe at path. Somebody else must have it open for writing until the end of the output.
func New(path string) (*Valve, error) {
	v := &Valve{path: path, patience: Patience}
	var err error
	if v.void, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
		return nil, err
	}
	if v.pipe, err = os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
		v.raw, err = v.pipe.SyscallConn()
	}
	if err == nil {
		err = errors.Join(v.raw.Control(func(fd uintptr) {
			_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, Size) // refused: it stays as it is
			v.size, err = unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0)
		}), err)
	}
	if err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

// Close ends Watch.
func (v *Valve) Close() {
	_ = v.void.Close()
	if v.pipe != nil {
		_ = v.pipe.Close() // nothing was written
	}
}

// Watch drops what must be dropped, until Close.
func (v *Valve) Watch() {
	for last := (time.Time{}); ; {
		// The kernel tells of each write into the pipe, even while nobody reads.
		if err := v.raw.Read(v.full); err != nil {
			return
		}
		wait := v.patience
		if time.Since(last) < while {
			wait = tick
		}
		time.Sleep(wait)
		if err := v.raw.Control(func(fd uintptr) {
			if v.full(fd) {
				v.relieve(fd)
				last = time.Now()
			}
		}); err != nil {
			return
		}
	}
}

// relieve drops half of what is in the pipe. It is counted first: who sees that something is missing finds it counted.
func (v *Valve) relieve(fd uintptr) {
	n := level(fd) / 2
	before := v.lost
	v.lost += uint64(n)
	_ = write(v.path, 0, v.lost)                                 // else it is told with the next loss
	if done, _ := move(int(fd), int(v.void.Fd()), n); done < n { // a reader was faster
		v.lost = before + uint64(done)
		_ = write(v.path, 0, v.lost)
	}
}

// full tells whether a writer would have to wait. A pipe is full when its pages are used up, however little is in them, but
// two pages that follow each other hold more than one.
func (v *Valve) full(fd uintptr) bool {
	if level(fd) < v.size/2-os.Getpagesize() {
		return false
	}
	w, err := unix.Open(v.path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // it is being removed
	}
	defer func() { _ = unix.Close(w) }()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(w), Events: unix.POLLOUT}}, 0)
	return err == nil && n == 0
}

// level is how many bytes are in a pipe.
func level(fd uintptr) int {
	n, _ := unix.IoctlGetInt(int(fd), unix.TIOCINQ) // FIONREAD; of a pipe that never fails
	return n
}

// move takes up to n bytes out of a pipe into an open file, without copying them, and gives how many it took. The error is
// EAGAIN where that was all for now; there is none when nobody has the pipe open for writing either.
func move(pipe, to, n int) (done int, err error) {
	for done < n {
		k, err := unix.Splice(pipe, nil, to, nil, n-done, unix.SPLICE_F_NONBLOCK)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || k <= 0 {
			return done, err
		}
		done += int(k)
	}
	return done, nil
}

// Trim leaves the newest keep bytes of what is in the pipe at path, and gives how many it dropped.
func Trim(path string, keep int) uint64 {
	v, err := New(path)
	if err != nil {
		return 0 // it is gone, and all in it
	}
	defer v.Close()
	var n int
	_ = v.raw.Control(func(fd uintptr) { n, _ = move(int(fd), int(v.void.Fd()), level(fd)-keep) }) // it is open
	return uint64(n)
}

// Keep moves what is in the pipe at path to the end of a file beside it, until nobody has the pipe open for writing, but at
// most for so long. It gives the file, from its beginning. Killed at any moment it loses nothing: what the kernel has taken
// out of the pipe is in the file.
func Keep(path string, limit time.Duration) (*os.File, error) {
	v, err := New(path)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	f, err := os.OpenFile(path+".kept", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err = v.empty(f, limit); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (v *Valve) empty(f *os.File, limit time.Duration) error {
	_, err := f.Seek(0, io.SeekEnd)
	if err = errors.Join(err, v.pipe.SetReadDeadline(time.Now().Add(limit))); err != nil {
		return err
	}
	var moved error
	err = v.raw.Read(func(fd uintptr) bool {
		_, moved = move(int(fd), int(f.Fd()), math.MaxInt32)
		return !errors.Is(moved, unix.EAGAIN)
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return errors.Join(err, moved)
}

// The file beside a pipe: the bytes lost, as counted by the shim, then those of them that the engine has told of.
const book = ".lost"

func write(path string, at int64, n uint64) error {
	f, err := os.OpenFile(path+book, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(binary.LittleEndian.AppendUint64(nil, n), at)
	return errors.Join(err, f.Close())
}

// Lost calls tell with the number of bytes that the pipe at path has lost since the last time.
func Lost(path string, tell func(bytes uint64)) error {
	b, err := os.ReadFile(path + book)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	b = append(b, make([]byte, 16)...)
	lost, told := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	if lost <= told {
		return nil
	}
	tell(lost - told)
	return write(path, 8, lost)
}
