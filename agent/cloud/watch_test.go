package cloud_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dynod/dynod/agent/cloud"
	"github.com/dynod/dynod/agent/cloud/cloudtest"
)

// The environment, which SDKs listen to, must change nothing in any test.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{
		"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://192.0.2.1", "AWS_EC2_METADATA_DISABLED": "true", "HTTP_PROXY": "http://192.0.2.2",
	} {
		_ = os.Setenv(name, value) // fails for odd names only
	}
	os.Exit(m.Run())
}

// watcher is a Watch in virtual time on a stand-in for the service, reached by connections in memory.
type watcher struct {
	t       *testing.T
	service *cloudtest.Service
	dials   int

	mu     sync.Mutex
	states []cloud.State
	log    bytes.Buffer // written by Watch only: to be read after settle
}

// watch begins to watch, and ends before the bubble does.
func watch(t *testing.T, prepare ...func(*watcher, *cloud.Config)) *watcher {
	t.Helper()
	w := &watcher{t: t, service: cloudtest.New()}
	conns := make(chan net.Conn)
	cfg := cloud.Config{Always: true, Log: slog.New(slog.NewTextHandler(&w.log, nil))}
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if network != "tcp" || address != "169.254.169.254:80" {
			t.Errorf("connection to %s %s", network, address)
		}
		w.dials++
		near, far := net.Pipe()
		select {
		case conns <- far:
			return near, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	for _, p := range prepare {
		p(w, &cfg)
	}
	server := &http.Server{Handler: w.service, ReadHeaderTimeout: time.Hour}
	go func() { _ = server.Serve(listener(conns)) }()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for s := range cloud.New(cfg).Watch(ctx) {
			w.mu.Lock()
			w.states = append(w.states, s)
			w.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = server.Close()
	})
	return w
}

// listener accepts connections in memory.
type listener chan net.Conn

func (l listener) Accept() (net.Conn, error) {
	if conn, ok := <-l; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (l listener) Close() error   { close(l); return nil }
func (l listener) Addr() net.Addr { return &net.UnixAddr{} }

// settle lets time pass.
func (w *watcher) settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *watcher) last() cloud.State {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.states) == 0 {
		w.t.Fatalf("nothing was said; log:\n%s", w.log.String())
	}
	return w.states[len(w.states)-1]
}

func (w *watcher) want(notices ...cloud.Notice) {
	w.t.Helper()
	if diff := cmp.Diff(notices, w.last().Notices, cmpopts.EquateEmpty()); diff != "" {
		w.t.Errorf("notices (-want +got):\n%s", diff)
	}
}

func (w *watcher) logged(text string) int { return strings.Count(w.log.String(), text) }

const (
	spotPath        = "meta-data/spot/instance-action"
	rebalancePath   = "meta-data/events/recommendations/rebalance"
	maintenancePath = "meta-data/events/maintenance/scheduled"
	lifecyclePath   = "meta-data/autoscaling/target-lifecycle-state"
	spotText        = `{"action": "terminate", "time": "2026-03-04T05:06:07Z"}`
)

var spot = cloud.Notice{
	Kind: cloud.Interruption, ID: "spot_interruption/terminate/2026-03-04T05:06:07Z", Action: "terminate",
	Due: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
}

func TestInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, func(w *watcher, _ *cloud.Config) {
			w.service.Set("meta-data/public-ipv4", "203.0.113.7")
			w.service.Set("meta-data/ipv6", "2001:db8::1")
			w.service.Set("meta-data/instance-life-cycle", "spot")
			w.service.Set("meta-data/tags/instance", "Name\naws:autoscaling:groupName")
			w.service.Set("meta-data/tags/instance/Name", "dynos one")
			w.service.Set("meta-data/tags/instance/aws:autoscaling:groupName", "dynos")
		})
		w.settle(time.Second)
		want := cloud.State{Instance: cloud.Instance{
			ID: "i-1234567890abcdef0", Type: "m7g.large", Region: "eu-west-1", Zone: "eu-west-1b", Image: "ami-0abcdef1234567890",
			Account: "123456789012", Lifecycle: "spot", Private: netip.MustParseAddr("10.0.1.2"),
			Public: netip.MustParseAddr("203.0.113.7"), IPv6: netip.MustParseAddr("2001:db8::1"),
			Tags: map[string]string{"Name": "dynos one", "aws:autoscaling:groupName": "dynos"},
		}}
		if diff := cmp.Diff(want, w.last(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		w.service.Answer("meta-data/public-ipv4", nil)
		w.settle(6 * time.Minute)
		if w.last().Instance.Public.IsValid() || len(w.states) != 2 {
			t.Errorf("%d states, the last: %+v", len(w.states), w.last())
		}
		if w.log.Len() > 0 {
			t.Errorf("log:\n%s", w.log.String())
		}
		if n := w.service.Requests(); n > 350 {
			t.Errorf("%d requests in six minutes: the instance is read too often", n)
		}
		w.service.Answer("meta-data/tags/instance", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
		if w.settle(6 * time.Minute); len(w.last().Instance.Tags) != 2 {
			t.Errorf("tags that cannot be read are gone: %+v", w.last())
		}
	})
}

func TestNoticesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		w.settle(time.Second)
		w.want()
		w.service.Set(spotPath, spotText)
		w.settle(5 * time.Second)
		w.want(spot)
		w.service.Set(rebalancePath, `{"noticeTime": "2026-03-04T05:00:00Z"}`)
		w.service.Set(maintenancePath, `[
			{"NotBefore" : "21 Jan 2027 09:00:43 GMT", "Code" : "system-reboot", "Description" : "scheduled reboot",
			 "EventId" : "instance-event-0d59937288b749b32", "NotAfter" : "21 Jan 2027 09:17:23 GMT", "State" : "active"},
			{"NotBefore" : "1 Jan 2026 00:00:00 GMT", "Code" : "system-reboot", "EventId" : "instance-event-1", "State" : "completed"},
			{"NotBefore" : "1 Jan 2026 00:00:00 GMT", "Code" : "system-reboot", "EventId" : "instance-event-2", "State" : "canceled"}]`)
		w.service.Set(lifecyclePath, "Terminated")
		w.settle(5 * time.Second)
		w.want(spot,
			cloud.Notice{Kind: cloud.Rebalance, ID: "rebalance/rebalance/2026-03-04T05:00:00Z", Action: "rebalance"},
			cloud.Notice{
				Kind: cloud.Maintenance, ID: "instance-event-0d59937288b749b32", Action: "system-reboot",
				Due: time.Date(2027, 1, 21, 9, 0, 43, 0, time.UTC), Text: "scheduled reboot",
			},
			cloud.Notice{Kind: cloud.Lifecycle, ID: "lifecycle/Terminated", Action: "Terminated"})
		w.service.Set(lifecyclePath, "InService")
		w.service.Set(maintenancePath, "[]")
		w.service.Answer(rebalancePath, nil)
		w.service.Answer(spotPath, nil)
		w.settle(5 * time.Second)
		w.want()
		if w.settle(10 * time.Minute); len(w.states) != 4 {
			t.Errorf("%d states, not one for each change", len(w.states))
		}
		if w.dials != 1 || w.log.Len() > 0 {
			t.Errorf("%d connections; log:\n%s", w.dials, w.log.String())
		}
	})
}

// Only these paths are ever asked for, whatever an index names or a redirect says.
func TestNothingElseIsAskedFor(t *testing.T) {
	const credentials = "../../iam/security-credentials/role"
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, func(w *watcher, _ *cloud.Config) {
			w.service.Set("meta-data/iam/security-credentials/role", "secret")
			w.service.Set("meta-data/iam/security-credentials", "secret")
			w.service.Set("meta-data/tags/instance", "Name\n"+credentials+"\n..")
			w.service.Set("meta-data/tags/instance/Name", "n")
			w.service.Answer("meta-data/ipv6", func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/latest/meta-data/iam/security-credentials/role", http.StatusFound)
			})
		})
		w.settle(time.Second)
		w.service.Set("meta-data/tags/instance", "..")
		w.settle(10 * time.Minute)
		const meta = "GET /latest/meta-data/"
		want := []string{
			"GET /latest/dynamic/instance-identity/document", meta + "autoscaling/target-lifecycle-state",
			meta + "events/maintenance/scheduled", meta + "events/recommendations/rebalance", meta + "instance-life-cycle", meta + "ipv6",
			meta + "public-ipv4", meta + "spot/instance-action", meta + "tags/instance", meta + "tags/instance/Name", "PUT /latest/api/token",
		}
		if diff := cmp.Diff(want, w.service.Asked()); diff != "" {
			t.Errorf("asked for (-want +got):\n%s", diff)
		}
	})
}

func TestTokensAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		w.settle(time.Hour) // of tokens that live for minutes
		w.service.Revoke()
		w.service.Set(spotPath, spotText)
		w.settle(5 * time.Second)
		w.want(spot)
		if w.log.Len() > 0 {
			t.Errorf("log:\n%s", w.log.String())
		}
	})
}

// A service that fails is asked less and less, logged once, and what it said stands until it answers again.
func TestFaults(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	fail := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	say := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "60")
			_, _ = w.Write([]byte(text))
		}
	}
	for name, fault := range map[string]http.HandlerFunc{
		"hangs": hang, "401": fail(401), "403": fail(403), "500": fail(500), "503": fail(503), "302": fail(302),
		"no tokens": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(map[string]int{http.MethodPut: 404, http.MethodGet: 401}[r.Method])
		},
		"garbage": say("<html>\x00"), "empty": say(""), "huge": say(strings.Repeat("a", 1<<20)), "slow": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte("{"))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(100 * time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, func(w *watcher, _ *cloud.Config) { w.service.Set(spotPath, spotText) })
				w.settle(time.Second)
				w.service.Break(fault)
				w.service.Revoke()
				before := w.service.Requests()
				w.settle(time.Hour)
				w.want(spot)
				if w.last().Instance.ID == "" || len(w.states) != 1 {
					t.Errorf("%d states, the last: %+v", len(w.states), w.last())
				}
				if n := w.service.Requests() - before; n < 60 || n > 1200 {
					t.Errorf("%d requests in an hour", n)
				}
				if w.logged("cannot be read") != 1 {
					t.Errorf("log:\n%s", w.log.String())
				}
				if asked := strings.Join(w.service.Asked(), "\n"); strings.Contains(asked, "without a token") {
					t.Errorf("version 1 was tried:\n%s", asked)
				}
				w.service.Break(nil)
				w.service.Answer(spotPath, nil)
				w.settle(2 * time.Minute)
				w.want()
				if w.logged("can be read again") != 1 {
					t.Errorf("log:\n%s", w.log.String())
				}
				w.service.Break(fault)
				w.settle(6 * time.Second)
				w.service.Break(nil)
				w.service.Set(spotPath, spotText)
				w.settle(50 * time.Second) // pauses grow from the beginning, up to a minute
				w.want(spot)
			})
		})
	}
}

// One kind that makes no sense hides none of the others.
func TestOddAnswers(t *testing.T) {
	for path, texts := range map[string][]string{
		rebalancePath:                        {"{}", "x", `{"noticeTime": "soon"}`, `[]`, strings.Repeat(" ", 1<<20) + `{"noticeTime": "2026-03-04T05:00:00Z"}`},
		maintenancePath:                      {"{}", "x", "[{}]", `[{"Code":"c","EventId":"e","NotBefore":"soon"}]`, `[{"Code":"c","EventId":"../e"}]`},
		lifecyclePath:                        {"", "<html>", strings.Repeat("x", 1000)},
		"dynamic/instance-identity/document": {"", "{}", `{"instanceId":"../x"}`, "<html>"},
		"meta-data/public-ipv4":              {"x", ""},
		"meta-data/tags/instance":            {"a/b", "..", strings.Repeat("k\n", 51)},
	} {
		for _, text := range texts {
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, func(w *watcher, _ *cloud.Config) {
					w.service.Set(path, text)
					w.service.Set(spotPath, spotText)
				})
				w.settle(time.Minute)
				w.want(spot)
				if w.logged("cannot be read") != 1 {
					t.Errorf("%s: %.80q: log:\n%s", path, text, w.log.String())
				}
				w.service.Set(spotPath, "[]")
				w.settle(5 * time.Second)
				w.want(spot)
				w.service.Answer(spotPath, nil)
				w.settle(5 * time.Second) // no longer pause, although one answer makes no sense
				w.want()
			})
		}
	}
}

// No packet leaves where the firmware is not EC2's.
func TestElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		here  bool
	}{
		"nothing":    {nil, false},
		"other":      {map[string]string{"sys_vendor": "QEMU\n", "board_asset_tag": "i440fx", "product_uuid": "9ec2-1"}, false},
		"Nitro":      {map[string]string{"sys_vendor": "Amazon EC2\n"}, true},
		"asset tag":  {map[string]string{"board_asset_tag": "i-1234567890abcdef0\n"}, true},
		"Xen's uuid": {map[string]string{"sys_vendor": "Xen\n", "product_uuid": "EC2E1916-9099-7CAF-FD21-012345ABCDEF\n"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range c.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, func(_ *watcher, cfg *cloud.Config) { cfg.Always, cfg.Firmware = false, dir })
				w.settle(time.Hour)
				if here := len(w.states) > 0; here != c.here || here != (w.dials > 0) {
					t.Errorf("%d states, %d connections", len(w.states), w.dials)
				}
			})
		})
	}
}

// A connection that cannot be made takes no longer than an answer that does not come.
func TestNobodyListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		w := watch(t, func(_ *watcher, cfg *cloud.Config) {
			cfg.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
				if dials++; dials%2 == 0 {
					return nil, errors.New("refused")
				}
				<-ctx.Done()
				return nil, ctx.Err()
			}
		})
		w.settle(time.Hour)
		if len(w.states) > 0 || dials < 60 || w.logged("cannot be read") != 1 {
			t.Errorf("%d states, %d dials; log:\n%s", len(w.states), dials, w.log.String())
		}
	})
}
