package exact_test

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/dynod/dynod/test/exact/numbered"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

// plain is a capture as one writes it first: read, write, and go on at the end of the file.
func plain(file string) error {
	out, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := os.Stdin.Read(buf)
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if err != nil {
			return err
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
	}
}

// plainCapture is that capture, killed and begun again on the same pipe.
type plainCapture struct {
	pipe *os.File // read end; it stays open here, as the platform holds it in dyno-init
	file string
	cmd  *exec.Cmd
}

func (c *plainCapture) begin() error {
	c.cmd = exec.Command(os.Args[0], "plain", c.file)
	c.cmd.Stdin, c.cmd.Stderr = c.pipe, os.Stderr
	return c.cmd.Start()
}

func (c *plainCapture) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// The control arm: the same generator and as many kills as in the quick run. If nothing is missing then, the test
// proves nothing.
func TestPlainCaptureLoses(t *testing.T) {
	lab.Root(t)
	dir, seed := t.TempDir(), rand.Uint64N(1<<60)
	r, w, err := os.Pipe()
	check(t, err)
	defer r.Close()
	c := &plainCapture{pipe: r, file: filepath.Join(dir, "captured")}
	gen := generator(t, dir, seed, w)
	check(t, w.Close())
	check(t, c.begin())
	for range 40 {
		before := sizeOf(c.file)
		check(t, rig.Await(t.Context(), "bytes in the file", func() (bool, error) { return sizeOf(c.file) > before, nil }))
		time.Sleep(time.Duration(rand.IntN(5000)) * time.Microsecond) // a moment like any other
		c.kill()
		check(t, c.begin())
	}
	check(t, os.WriteFile(filepath.Join(dir, "stop"), nil, 0o600))
	said := counted(t, dir)
	check(t, gen.Process.Kill())
	_ = gen.Wait()
	check(t, c.cmd.Wait()) // at the end of the pipe
	missing, wrong := compare(t, c.file, seed, said.Stdout.Bytes)
	t.Logf("of %d bytes %d are missing; %d are not where they belong", said.Stdout.Bytes, missing, wrong)
	if missing <= 0 && wrong == 0 {
		t.Error("a plain capture loses nothing: this test would not see a loss")
	}
}

// generator runs one on this machine, without a dyno.
func generator(t *testing.T, dir string, seed uint64, out *os.File) *exec.Cmd {
	t.Helper()
	path, err := lab.Generator(t.Context())
	check(t, err)
	gen := exec.Command(path, "numbered")
	gen.Env = append(os.Environ(), "DIR="+dir, "SEED="+strconv.FormatUint(seed, 10))
	gen.Stdout = out
	check(t, gen.Start())
	t.Cleanup(func() { _ = gen.Process.Kill() })
	return gen
}

// told is what a generator says beside its streams.
type told struct{ Stdout, Stderr numbered.Count }

func counted(t *testing.T, dir string) (said told) {
	t.Helper()
	file := filepath.Join(dir, "count.json")
	check(t, rig.Await(t.Context(), "a generator's count", func() (bool, error) {
		data, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			return false, nil
		}
		if err == nil {
			err = json.Unmarshal(data, &said)
		}
		return err == nil, err
	}))
	return said
}

func sizeOf(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return info.Size()
}

// compare holds a file against the stream of a seed.
func compare(t *testing.T, file string, seed uint64, said int64) (missing, wrong int64) {
	t.Helper()
	data, err := os.ReadFile(file)
	check(t, err)
	same := numbered.NewReader(seed).Match(data[:min(said, int64(len(data)))])
	return said - int64(len(data)), int64(len(data)) - same
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
