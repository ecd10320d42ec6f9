package e2e_test

import (
	"bytes"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/test/lab"
)

// What a dyno is inside: nobody special, in a place of its own.
func TestWallsFromInside(t *testing.T) {
	s := open(t, "")
	got, exit := s.run(1, `id -u; id -g; hostname; pwd; echo $DYNO $PORT $HOME $GREETING
grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\t '
awk '{print $3}' /proc/self/uid_map; touch /app/a /tmp/b /var/tmp/c && echo writable; touch /etc/x 2>/dev/null || echo read-only; cat /proc/1/comm`,
		env("GREETING", "hello there"))
	want := []string{
		"1000", "1000", id(1), "/app", "run.1 5000 /app hello there",
		"CapInh:0000000000000000", "CapPrm:0000000000000000", "CapEff:0000000000000000", "CapBnd:0000000000000000", "CapAmb:0000000000000000",
		"NoNewPrivs:1", "Seccomp:2", "65536", "writable", "read-only", "dyno-init",
	}
	if !slices.Equal(got, want) || exit.GetCode() != 0 {
		t.Errorf("exit %v, got:\n%s", exit, strings.Join(got, "\n"))
	}
}

func TestOutputMayBeReopenedAndEndsExactly(t *testing.T) {
	s := open(t, "")
	got, exit := s.run(1, `echo one; echo two > /dev/stdout; echo err >> /dev/stderr; printf 'no newline at the end'`)
	if want := []string{"one", "two", "no newline at the end"}; !slices.Equal(got, want) || exit.GetCode() != 0 {
		t.Errorf("stdout %q, exit %v", got, exit)
	}
	if got := s.output(id(1), "stderr", "to complete"); !slices.Equal(got, []string{"err"}) {
		t.Errorf("stderr %q", got)
	}
}

func TestExitCodeComesBack(t *testing.T) {
	s := open(t, "")
	if _, exit := s.run(1, "exit 7"); exit.GetCode() != 7 || exit.GetSignal() != 0 {
		t.Errorf("got %v", exit)
	}
	if _, exit := s.run(2, "kill -9 $$"); exit.GetCode() != 137 || exit.GetOutOfMemory() {
		t.Errorf("got %v", exit)
	}
}

// While a dyno runs, no value of its environment lies in a file on disk.
func TestSecretsStayInMemory(t *testing.T) {
	s := open(t, "")
	const secret = "3f1c-a-value-that-is-nowhere-else-9b7d"
	dyno := s.start(s.order(1, "worker.1", "./web worker", env("API_KEY", secret)))
	s.await(dyno, up)
	if err := s.KillAgent(); err != nil { // nor is it when the agent comes again
		t.Fatal(err)
	}
	s.check(s.StartAgent(t.Context()))
	s.await(dyno, up)

	control := filepath.Join(s.Lab.Dir(), "control")
	s.check(os.WriteFile(control, []byte("x"+secret+"y"), 0o600))
	found := filesWith(t, s.Lab.Dir(), secret)
	if !slices.Equal(found, []string{control}) {
		t.Errorf("the value is in %q, expected only the control file", found)
	}
}

// filesWith lists the files below dir, but not on tmpfs or proc, that hold the text.
func filesWith(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // gone meanwhile
		}
		var st unix.Statfs_t
		if d.IsDir() && (unix.Statfs(path, &st) != nil || st.Type == unix.TMPFS_MAGIC || st.Type == unix.PROC_SUPER_MAGIC || st.Type == unix.SYSFS_MAGIC) {
			return filepath.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, []byte(text)) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Dynos reach neither one another, nor the host, nor link-local addresses; the control arm shows that the probe works.
func TestDynosAreApart(t *testing.T) {
	s := open(t, "")
	other := s.await(s.start(s.order(1, "web.1", "./web web")), up)
	outside := s.listenOutside()
	probe := func(n int, address, port string) string {
		got, _ := s.run(n, "nc -w 2 "+address+" "+port+" </dev/null >/dev/null 2>&1 && echo open || echo closed")
		return strings.Join(got, " ")
	}
	if got := probe(2, lab.OutsideAddress, outside); got != "open" {
		t.Errorf("control arm, the outside: %s", got)
	}
	for i, address := range []string{other.GetAddress() + " 5000", "10.99.0.1 7070", "172.16.0.5 7070", "169.254.169.254 80"} {
		host, port, _ := strings.Cut(address, " ")
		if got := probe(3+i, host, port); got != "closed" {
			t.Errorf("%s is %s", address, got)
		}
	}
}

// listenOutside accepts connections in the outside namespace and returns the port.
func (s *stage) listenOutside() string {
	s.t.Helper()
	var lis net.Listener
	s.check(s.Lab.Do(s.Lab.Outside(), func() (err error) {
		lis, err = net.Listen("tcp", lab.OutsideAddress+":0")
		return err
	}))
	s.t.Cleanup(func() { _ = lis.Close() })
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	_, port, err := net.SplitHostPort(lis.Addr().String())
	s.check(err)
	return port
}
