package network_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	goruntime "runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// echoAt names the variable that makes the test binary a process that answers with
// what it is sent; its value is the address.
const echoAt = "DYNOD_TEST_ECHO_AT"

// echoes serves each connection by a thread that blocks.
func echoes(addr string) int {
	l, err := net.Listen("tcp", addr)
	for err == nil {
		var conn net.Conn
		if conn, err = l.Accept(); err == nil {
			go func() {
				_ = undisturbed(lastCPU, func() error {
					socket, _, err := blocking(conn)
					for err == nil {
						err = answer(socket)
					}
					return err
				})
			}()
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func answer(socket int) error {
	message := make([]byte, len(word))
	n, err := unix.Read(socket, message)
	if err == nil && n == 0 {
		err = net.ErrClosed
	}
	if err == nil {
		_, err = unix.Write(socket, message[:n])
	}
	return err
}

// blocking is a connection as a socket that blocks, and how to close it.
func blocking(conn net.Conn) (socket int, end func(), err error) {
	f, err := conn.(*net.TCPConn).File()
	if err != nil {
		return 0, nil, err
	}
	return int(f.Fd()), func() { _ = f.Close(); _ = conn.Close() }, unix.SetNonblock(int(f.Fd()), false)
}

// firstCPU and lastCPU choose one of those that a thread may use.
func firstCPU(int) int    { return 0 }
func lastCPU(all int) int { return all - 1 }

// undisturbed runs f on a thread with a CPU of its own as far as the machine has so
// many, before whatever else runs there if it may: others make it less exact, and
// slow by chance.
func undisturbed(choose func(all int) int, f func() error) error {
	done := make(chan error)
	go func() {
		goruntime.LockOSThread() // for good: the thread ends with the goroutine
		var all, one unix.CPUSet
		if unix.SchedGetaffinity(0, &all) == nil {
			one.Set(nth(all, choose(all.Count())))
			_ = unix.SchedSetaffinity(0, &one)
		}
		priority := int32(1)
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO, uintptr(unsafe.Pointer(&priority)))
		done <- f()
	}()
	return <-done
}

func nth(cpus unix.CPUSet, n int) int {
	for cpu := 0; ; cpu++ {
		if cpus.IsSet(cpu) {
			if n--; n < 0 {
				return cpu
			}
		}
	}
}

const word = "a small word"

// roundTrips are times of some, in microseconds. The first wakes everybody up.
func roundTrips(near, far int, trip func(near, far int) error) (took []float64, err error) {
	for i := range 21 {
		begin := time.Now()
		if err := trip(near, far); err != nil {
			return nil, err
		}
		if i > 0 {
			took = append(took, time.Since(begin).Seconds()*1e6)
		}
	}
	return took, nil
}

// pass sends a word by one socket and takes it from the other, of which the other
// side may be another process.
func pass(from, to int) error {
	_, err := unix.Write(from, []byte(word))
	for again := err == nil; again; again = errors.Is(err, unix.EINTR) { // a read with a deadline is not begun again
		_, err = unix.Read(to, make([]byte, len(word)))
	}
	return err
}

// thereAndBack needs nobody else: packets go all the way within the call that sends
// them.
func thereAndBack(near, far int) error {
	if err := pass(near, far); err != nil {
		return err
	}
	return pass(far, near)
}

// socket is a connection as a socket that blocks, until the test ends.
func (h *host) socket(conn net.Conn) int {
	h.t.Helper()
	socket, end, err := blocking(conn)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(end)
	_ = unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	return socket
}

func (h *host) dialled(ns, addr string) (conn net.Conn) {
	h.t.Helper()
	err := h.Do(ns, func() (err error) {
		conn, err = net.DialTimeout("tcp", addr, 10*time.Second)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return conn
}

// ends are the two ends of a connection.
func (h *host) ends(w *way) (near, far int) {
	h.t.Helper()
	l := h.listen(w.to, w.addr+":8")
	defer l.Close()
	one := h.dialled(w.from, w.addr+":8")
	other, err := l.Accept()
	if err != nil {
		h.t.Fatal(err)
	}
	return h.socket(one), h.socket(other)
}
