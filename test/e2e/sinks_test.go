package e2e_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/heroku/x/logplex/encoding"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

const (
	plexAddress   = lab.OutsideAddress + ":8443"
	syslogAddress = lab.OutsideAddress + ":6514"
)

// Two more receivers outside, a Logplex and Debian's rsyslog, get every line of a dyno that the control plane gets,
// although the agent is killed meanwhile. What a batch brings twice is dropped by its id, as Logplex does.
func TestLogSinks(t *testing.T) {
	l := lab.New(t)
	certs := filepath.Join(l.Dir(), "certs")
	s := openIn(t, l, fmt.Sprintf("[logs]\nsink_ca = %q\n", filepath.Join(certs, "ca.pem")))
	plex := s.plex(certs)
	received := s.rsyslog(certs)
	dyno := s.start(s.order(4711, "worker.1", "./web worker", env("LINES", "2000"), func(o *dynodv1.StartDynoRequest) {
		o.Spec.LogSinks = []*dynodv1.LogSink{{Url: "https://" + plexAddress + "/logs", Token: "t.hidden"}, {Url: "syslog+tls://" + syslogAddress}}
	}))
	s.await(dyno, up)
	follower := s.follow(dyno)
	for n := range 3 {
		s.output(dyno, "stdout", fmt.Sprintf("seq=%d", 2000*(n+1)))
		s.check(s.KillAgent())
		s.check(s.StartAgent(t.Context()))
	}
	s.stop(dyno)
	s.await(dyno, down)
	n := s.sequence(dyno)
	last := fmt.Sprintf("end seq=%d", n)
	for name, lines := range map[string]func() []string{"logplex": plex.lines, "rsyslog": received, "dynoctl logs -f": follower} {
		err := rig.Await(t.Context(), "the last line at "+name, func() (bool, error) {
			all := lines()
			return len(all) > 0 && strings.HasSuffix(all[len(all)-1], last), nil
		})
		if err != nil {
			t.Error(err)
		}
		inOrder(t, name, lines(), n)
	}
	if log := s.Tail("agent.log"); strings.Contains(log, "hidden") {
		t.Errorf("the agent's log holds a token:\n%s", log)
	}
}

// inOrder sees that all of "seq=1" to "seq=<n>" are there, each for the first time in its turn. A line that comes
// again was in the batch under way when an agent died.
func inOrder(t *testing.T, name string, lines []string, n int) {
	t.Helper()
	next, doubles := 1, 0
	for _, line := range lines {
		var seq int
		_, text, _ := strings.Cut(line, "seq=")
		if _, err := fmt.Sscanf(text, "%d", &seq); err != nil {
			t.Errorf("%s: line %q", name, line)
			return
		}
		switch {
		case seq == next:
			next++
		case seq < next:
			doubles++
		default:
			t.Errorf("%s: %q after %d", name, line, next-1)
			return
		}
	}
	if next != n+1 {
		t.Errorf("%s: the last of %d is %d", name, n, next-1)
	}
	t.Logf("%s: %d lines, %d twice", name, n, doubles-1) // the last line names the number again
}

// logplexServer keeps the app's lines.
type logplexServer struct {
	mu   sync.Mutex
	ids  map[string]bool
	said []string
	bad  []string
}

func (p *logplexServer) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, password, _ := r.BasicAuth()
	z, err := gzip.NewReader(r.Body)
	if err != nil || password != "t.hidden" || r.Header.Get("Content-Type") != "application/logplex-1" {
		p.bad = append(p.bad, fmt.Sprint(err, r.Header))
		return
	}
	if id := r.Header.Get("Logplex-Frame-Id"); p.ids[id] {
		return
	} else {
		p.ids[id] = true
	}
	scanner, count := encoding.NewScanner(z), 0
	for ; scanner.Scan(); count++ {
		if m := scanner.Message(); m.Application == "app" && m.Process == "worker.1" && m.Hostname == "lab" {
			p.said = append(p.said, m.Message)
		}
	}
	if scanner.Err() != nil || r.Header.Get("Logplex-Msg-Count") != fmt.Sprint(count) {
		p.bad = append(p.bad, fmt.Sprint(scanner.Err(), r.Header))
	}
}

func (p *logplexServer) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.said...)
}

// plex serves a Logplex outside.
func (s *stage) plex(certs string) *logplexServer {
	s.t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(certs, "plane.pem"), filepath.Join(certs, "plane-key.pem"))
	s.check(err)
	var l net.Listener
	s.check(s.Lab.Do(s.Lab.Outside(), func() (err error) {
		l, err = tls.Listen("tcp", plexAddress, &tls.Config{Certificates: []tls.Certificate{pair}})
		return err
	}))
	p := &logplexServer{ids: map[string]bool{}}
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // its error is that it is closed
	s.t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
		if len(p.bad) > 0 {
			s.t.Errorf("bad requests: %q", p.bad)
		}
	})
	return p
}

const rsyslogConfig = `
global(workDirectory="%[1]s" defaultNetstreamDriverCAFile="%[2]s/ca.pem"
  defaultNetstreamDriverCertFile="%[2]s/plane.pem" defaultNetstreamDriverKeyFile="%[2]s/plane-key.pem")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")
input(type="imtcp" address="%[3]s" port="6514" ruleset="all")
template(name="line" type="string" string="%%app-name%%[%%procid%%]: %%msg%%\n")
ruleset(name="all") { if $app-name == "app" then action(type="omfile" file="%[1]s/received" template="line") }
`

// rsyslog runs a private one outside, and gives what it has received.
func (s *stage) rsyslog(certs string) func() []string {
	s.t.Helper()
	dir := s.t.TempDir()
	config := filepath.Join(dir, "rsyslog.conf")
	s.check(os.WriteFile(config, fmt.Appendf(nil, rsyslogConfig, dir, certs, lab.OutsideAddress), 0o600))
	cmd := s.Lab.Command(s.Lab.Outside(), "/usr/sbin/rsyslogd", "-n", "-f", config, "-i", filepath.Join(dir, "pid"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	s.check(cmd.Start())
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	s.check(rig.Await(s.t.Context(), "rsyslogd", func() (bool, error) {
		return s.Lab.Do(s.Lab.Outside(), func() error {
			conn, err := net.Dial("tcp", syslogAddress)
			if err == nil {
				_ = conn.Close()
			}
			return err
		}) == nil, nil
	}))
	return func() []string { return fileLines(filepath.Join(dir, "received")) }
}

// fileLines are the complete lines of a file that may grow.
func fileLines(path string) (lines []string) {
	text, _ := os.ReadFile(path)
	in := bufio.NewScanner(bytes.NewReader(text[:bytes.LastIndexByte(text, '\n')+1]))
	for in.Scan() {
		lines = append(lines, in.Text())
	}
	return lines
}

// follow has dynoctl follow the app's lines until the dyno is gone, over all deaths of the agent.
func (s *stage) follow(dyno string) func() []string {
	s.t.Helper()
	out, err := os.Create(filepath.Join(s.t.TempDir(), "followed"))
	s.check(err)
	cmd := s.Lab.Command(s.Lab.Host(), s.Program("dynoctl"), "--socket", s.Socket(), "logs", "-f", "--source", "app", dyno)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	s.check(cmd.Start())
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = out.Close()
	})
	return func() []string { return fileLines(out.Name()) }
}
