package host_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/exact/upstream"
	"github.com/dynod/dynod/test/host"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

// planePort is where the agent finds its control plane: on the host's loopback interface, from where ssh brings it here.
const planePort = 7071

const config = `host_name = "one"
[host]
sample_interval = "2s"
[upstream]
address = "127.0.0.1:7071"
cert = "/etc/dynod/tls/agent.pem"
key = "/etc/dynod/tls/agent-key.pem"
ca = "/etc/dynod/tls/ca.pem"
[artifacts]
allow_file_urls = true
[artifacts.stacks]
small = "/srv/small.tar"
`

// stage is a host with the package, and its control plane in this process.
type stage struct {
	t      testing.TB
	host   *host.Host
	plane  *upstream.Server
	conn   *grpc.ClientConn
	number int               // of dynos ordered
	slugs  map[string]string // digest by file
}

// open boots a fresh host and gives it what it needs before the package.
func open(t testing.TB, image host.Image, wire *host.Wire) *stage {
	t.Helper()
	h := newHost(t, image, "one", wire)
	s := &stage{t: t, host: h, slugs: map[string]string{}}
	certs := certificates(t)
	listener, err := h.Listen(planePort)
	check(t, err)
	files := transport.TLSFiles{Cert: filepath.Join(certs, "plane.pem"), Key: filepath.Join(certs, "plane-key.pem"), CA: filepath.Join(certs, "ca.pem")}
	s.plane, err = upstream.Serve(listener, files, []string{"agent"})
	check(t, err)
	t.Cleanup(s.plane.Close)
	s.conn, err = grpc.NewClient("passthrough:///dynod", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return h.Dial(ctx, "unix", "/run/dynod/dynod.sock")
		}))
	check(t, err)
	t.Cleanup(func() { _ = s.conn.Close() })
	s.equip(certs)
	return s
}

// newHost boots one; when the test has failed, its journal is shown.
func newHost(t testing.TB, image host.Image, name string, wire *host.Wire) *host.Host {
	t.Helper()
	h, err := host.New(host.Options{Image: image, Name: name, Dir: t.TempDir(), Memory: 2048, Wire: wire})
	check(t, err)
	t.Cleanup(h.Close)
	check(t, h.PowerOn(bounded(t, boot)))
	t.Cleanup(func() { journal(t, h) })
	return h
}

func journal(t testing.TB, h *host.Host) {
	if !t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := h.Run(ctx, "journalctl --no-pager --no-hostname -o short-monotonic -p notice -n 60; journalctl --no-pager --no-hostname -o cat -n 60 -u dynod -u dynod-capture -u containerd; systemctl --failed --no-pager")
	t.Logf("host %s, %v:\n%s", h.Name, err, out)
}

func certificates(t testing.TB, hosts ...string) string {
	t.Helper()
	bin, err := rig.BuildPlain(t.Context())
	check(t, err)
	dir := filepath.Join(t.TempDir(), "tls")
	args := []string{"certs", dir}
	for _, h := range hosts {
		args = append(args, "--host", h)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "dynoplane"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// equip puts configuration, certificates, a stack and slugs there.
func (s *stage) equip(certs string) {
	s.t.Helper()
	s.write("/etc/dynod/conf.d/50-test.toml", []byte(config))
	s.put("/etc/containerd/config.toml", "../../packaging/ami/files/containerd.toml")
	s.run("systemctl restart containerd")
	for _, name := range []string{"ca.pem", "agent.pem", "agent-key.pem"} {
		s.put("/etc/dynod/tls/"+name, filepath.Join(certs, name))
	}
	stack, err := lab.SmallStack(s.t.Context())
	check(s.t, err)
	s.put("/srv/small.tar", stack)
	for name, slug := range map[string]func(context.Context) (string, string, error){"gen": lab.GeneratorSlug, "web": lab.AppSlug} {
		file, sum, err := slug(s.t.Context())
		check(s.t, err)
		s.put("/srv/"+name+".tgz", file)
		s.slugs[name] = sum
	}
}

func (s *stage) write(path string, data []byte) {
	s.t.Helper()
	check(s.t, s.host.Write(bounded(s.t, patience), path, data, 0o600))
}

func (s *stage) put(path, file string) {
	s.t.Helper()
	data, err := os.ReadFile(file)
	check(s.t, err)
	s.write(path, data)
}

// run gives what a command on the host says.
func (s *stage) run(format string, args ...any) string {
	s.t.Helper()
	out, err := s.host.Run(bounded(s.t, patience), fmt.Sprintf(format, args...))
	check(s.t, err)
	return strings.TrimSpace(out)
}

// count gives the number that a command says.
func (s *stage) count(format string, args ...any) int64 {
	s.t.Helper()
	out := s.run(format, args...)
	n, err := strconv.ParseInt(out, 10, 64)
	check(s.t, err)
	return n
}

// until waits until a command on the host says what is wanted. It asks seldom, as the host has other things to do.
func (s *stage) until(want, format string, args ...any) {
	s.t.Helper()
	ctx := bounded(s.t, patience)
	for {
		r, err := s.host.Try(ctx, fmt.Sprintf(format, args...))
		check(s.t, err)
		if strings.TrimSpace(r.Out) == want {
			return
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			s.t.Fatalf("%s: %+v, want %q", fmt.Sprintf(format, args...), r, want)
		}
	}
}

// install installs a version of the package.
func (s *stage) install(version string) {
	s.t.Helper()
	all, err := packages()
	check(s.t, err)
	path := "/root/" + filepath.Base(all[version])
	s.put(path, all[version])
	s.run("dpkg -i --force-confold %s && rm %s", path, path)
}

func (s *stage) api() dynodv1.AgentServiceClient { return dynodv1.NewAgentServiceClient(s.conn) }

// ours is what the ids of the tests' dynos begin with.
const ours = "d4a70000"

// order is a start order for a slug that lies on the host.
func (s *stage) order(slug, command string, change ...rig.Change) *dynodv1.StartDynoRequest {
	s.number++
	id := fmt.Sprintf("%s-0000-4000-8000-%012d", ours, s.number)
	o := rig.SlugOrder(id, "host", fmt.Sprintf("worker.%d", s.number), command, "/srv/"+slug+".tgz", s.slugs[slug], change...)
	return o
}

// start sends it until the answer is one: a host that is as slow as these may have to be asked again.
func (s *stage) start(o *dynodv1.StartDynoRequest) string {
	s.t.Helper()
	ctx := bounded(s.t, patience)
	check(s.t, rig.Await(ctx, "an order to be accepted", func() (bool, error) {
		_, err := s.api().StartDyno(ctx, o, grpc.WaitForReady(true))
		if status.Code(err) == codes.Unavailable {
			return false, nil
		}
		return err == nil, err
	}))
	return o.GetHeader().GetDynoId()
}

// await waits for a dyno to be in one of the phases. An agent that comes back shows what is up before it has found its process.
func (s *stage) await(id string, phases ...dynodv1.Phase) *dynodv1.Dyno {
	s.t.Helper()
	var d *dynodv1.Dyno
	ctx := bounded(s.t, patience)
	err := rig.Await(ctx, "phase", func() (bool, error) {
		out, err := s.api().GetDyno(ctx, &dynodv1.GetDynoRequest{DynoId: id}, grpc.WaitForReady(true))
		if status.Code(err) == codes.Unavailable {
			return false, nil
		}
		d = out.GetDyno()
		found := d.GetPhase() != dynodv1.Phase_PHASE_UP || d.GetPid() != 0
		return found && slices.Contains(phases, d.GetPhase()), err
	})
	if err != nil {
		s.t.Fatalf("dyno %s to be %v: %v; it is %v", id, phases, err, d)
	}
	return d
}

func (s *stage) stop(id string) {
	s.t.Helper()
	_, err := s.api().StopDyno(bounded(s.t, patience), &dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{DynoId: id, Generation: 1}}, grpc.WaitForReady(true))
	check(s.t, err)
}

func (s *stage) list() []*dynodv1.Dyno {
	s.t.Helper()
	out, err := s.api().ListDynos(bounded(s.t, patience), &dynodv1.ListDynosRequest{}, grpc.WaitForReady(true))
	check(s.t, err)
	return out.GetDynos()
}

// sweep stops what a part that has failed has left.
func (s *stage) sweep() {
	for _, d := range s.list() {
		if ended := d.GetPhase() >= dynodv1.Phase_PHASE_DOWN && d.GetPid() == 0; !ended {
			s.stop(d.GetId())
		}
	}
}
