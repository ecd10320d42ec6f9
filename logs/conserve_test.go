package logs_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/dynod/dynod/logs"
)

// flood writes numbered lines as fast as they are taken, until stopped, and tells how many. It stays within a window
// of what was received, so that the spool's bound plays no part.
type flood struct {
	id      string
	stream  logs.Stream
	file    *os.File
	window  int64
	written int64
	lines   int
}

const window = 16 << 20

func (f *flood) run(ctx context.Context, r *receiver) error {
	defer f.file.Close()
	w := f.file
	for n := 0; ctx.Err() == nil; n += 100 {
		var chunk []byte
		for i := range 100 {
			chunk = fmt.Appendf(chunk, "%s line %08d of a dyno that has much to say\n", f.stream, n+i)
		}
		if _, err := w.Write(chunk); err != nil {
			return err
		}
		f.lines += 100
		for f.written += int64(len(chunk)); f.written-r.of(f.id, f.stream).next > f.window && ctx.Err() == nil; {
			_ = r.reach(ctx, r.sum()+1)
		}
	}
	return nil
}

func (r *receiver) sum() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

// check compares every byte received with every byte written.
func (f *flood) check(t *testing.T, r *receiver) {
	t.Helper()
	got := r.of(f.id, f.stream)
	var want bytes.Buffer
	for n := range f.lines {
		fmt.Fprintf(&want, "%s line %08d of a dyno that has much to say\n", f.stream, n)
	}
	if !bytes.Equal(got.bytes, want.Bytes()) || got.lost != 0 {
		t.Errorf("%s: received %d bytes, lost %d, want %d bytes exactly", f.stream, len(got.bytes), got.lost, want.Len())
	}
	t.Logf("%s: %d lines, %d bytes", f.stream, f.lines, want.Len())
}

func kills() int {
	if testing.Short() {
		return 5
	}
	return 50
}

func TestKilledCaptureLosesNothing(t *testing.T) {
	r := newReceiver(t)
	h := newHost(t, r, nil)
	floods, stop := h.flood(r)
	for killed, last := 0, 0; killed < kills(); {
		if err := r.reach(h.ctx(), r.sum()+int64(killed%7+1)*20_000); err != nil {
			t.Fatal(err)
		}
		if pid := h.capturePid(); pid > 0 && pid != last {
			h.kill(pid)
			killed, last = killed+1, pid
		}
	}
	stop()
	for _, f := range floods {
		h.over(f.id, logs.Pipes{})
		f.check(t, r)
	}
}

// flood begins two dynos that write on both streams, and gives what ends them.
func (h *host) flood(r *receiver) ([]*flood, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var floods []*flood
	for range 2 {
		id := newID()
		p := h.open(id)
		for s, file := range map[logs.Stream]*os.File{logs.Stdout: p.Stdout, logs.Stderr: p.Stderr} {
			f := &flood{id: id, stream: s, file: file, window: window / 64}
			floods = append(floods, f)
			wg.Go(func() {
				if err := f.run(ctx, r); err != nil {
					h.t.Errorf("writer: %v", err)
				}
			})
		}
	}
	stop := sync.OnceFunc(func() { cancel(); wg.Wait() })
	h.t.Cleanup(stop)
	return floods, stop
}

func TestRestartedLogsLoseNothing(t *testing.T) {
	r := newReceiver(t)
	h := newHost(t, r, nil)
	floods, stop := h.flood(r)
	for range 10 {
		if err := r.reach(h.ctx(), r.sum()+100_000); err != nil {
			t.Fatal(err)
		}
		h.end()
		h.begin()
	}
	stop()
	for _, f := range floods {
		h.over(f.id, logs.Pipes{})
		f.check(t, r)
	}
}

// TestKilledAgentLosesNothing kills the process that reads, cuts and ships; the receiver lives in this one.
func TestKilledAgentLosesNothing(t *testing.T) {
	r := newReceiver(t)
	h := newHost(t, r, nil)
	floods, stop := h.flood(r)
	h.end()
	address := serve(t, r)
	for i := range kills() {
		agent := exec.Command(os.Args[0], "agent", h.cfg.Socket, h.cfg.SpoolDir, address)
		agent.Stderr = os.Stderr
		if err := agent.Start(); err != nil {
			t.Fatal(err)
		}
		err := r.reach(h.ctx(), r.sum()+int64(i%7+1)*50_000)
		_ = agent.Process.Kill()
		_ = agent.Wait()
		if err != nil {
			t.Fatal(err)
		}
	}
	stop()
	h.begin()
	for _, f := range floods {
		h.over(f.id, logs.Pipes{})
		f.check(t, r)
	}
}

// serve takes batches from agents in other processes.
func serve(t *testing.T, r *receiver) string {
	l, err := net.Listen("unix", t.TempDir()+"/receiver.sock")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { answer(conn, r) })
		}
	})
	return l.Addr().String()
}

func answer(conn net.Conn, r *receiver) {
	defer conn.Close()
	in, out := gob.NewDecoder(conn), gob.NewEncoder(conn)
	for {
		var b logs.Batch
		if in.Decode(&b) != nil {
			return
		}
		ack, err := r.Send(context.Background(), b)
		if err != nil || out.Encode(ack) != nil {
			return
		}
	}
}

// wire is the agent's end of that.
type wire struct {
	in  *gob.Decoder
	out *gob.Encoder
}

func (w wire) Send(_ context.Context, b logs.Batch) (logs.Ack, error) {
	var ack logs.Ack
	if err := w.out.Encode(b); err != nil {
		return ack, err
	}
	return ack, w.in.Decode(&ack)
}

func runAgent(socket, spoolDir, address string) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	conn, err := net.Dial("unix", address)
	if err != nil {
		log.Error("agent", "error", err)
		os.Exit(1)
	}
	cfg := logs.Config{SpoolDir: spoolDir, Socket: socket, SpoolBytes: testBound}
	l, err := logs.New(context.Background(), cfg, wire{gob.NewDecoder(conn), gob.NewEncoder(conn)}, log)
	if err == nil {
		err = l.Run(context.Background())
	}
	log.Error("agent ended", "error", err)
	os.Exit(1)
}
