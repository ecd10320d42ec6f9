package logplex_test

import (
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/heroku/x/logplex/encoding"
	"go.uber.org/goleak"

	"github.com/dynod/dynod/logs/logplex"
	"github.com/dynod/dynod/logs/syslog"
)

// TestMain sets a proxy that answers nobody: the client must not ask it.
func TestMain(m *testing.M) {
	_ = os.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	goleak.VerifyTestMain(m)
}

// client trusts the server.
func client(t *testing.T, s *httptest.Server) *http.Client {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := syslog.NewDialer(ca)
	if err != nil {
		t.Fatal(err)
	}
	c := logplex.NewClient(d)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func serve(t *testing.T, answer http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(answer)
	t.Cleanup(s.Close)
	return s
}

func parse(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func batch(texts ...string) logplex.Batch {
	b := logplex.Batch{ID: "frame-7", Messages: len(texts)}
	for i, text := range texts {
		m := syslog.Message{Kind: syslog.Kind(i % 4), Time: time.Unix(1_700_000_000, 1000), Text: []byte(text)}
		b.Frames, _ = syslog.AppendFrames(b.Frames, syslog.Origin{Host: "h", Process: "web.1"}, m)
	}
	return b
}

// decode reads a request as heroku/x's receivers do, and refuses what they would.
func decode(r *http.Request) ([]string, error) {
	if got := r.Header.Get("Content-Type"); got != "application/logplex-1" || r.Method != http.MethodPost {
		return nil, fmt.Errorf("%s of %s", r.Method, got)
	}
	if r.Header.Get("Content-Encoding") != "gzip" {
		return nil, errors.New("not gzipped")
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	var texts []string
	s := encoding.NewScanner(z)
	for s.Scan() {
		texts = append(texts, fmt.Sprintf("<%d> %s[%s]: %s", s.Message().Priority, s.Message().Application, s.Message().Process, s.Message().Message))
	}
	if count := r.Header.Get("Logplex-Msg-Count"); count != strconv.Itoa(len(texts)) {
		return nil, fmt.Errorf("count %s of %d", count, len(texts))
	}
	return texts, s.Err()
}

func TestSend(t *testing.T) {
	var got []string
	var problem error
	headers := http.Header{}
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got, problem = decode(r)
		user, password, _ := r.BasicAuth()
		headers = r.Header.Clone()
		headers.Set("Authorization", user+" "+password)
		headers.Set("Path", r.URL.String())
		w.WriteHeader(http.StatusNoContent)
	})
	u := parse(t, s.URL+"/logs?x=y")
	long := strings.Repeat("z", 10_000)
	if err := logplex.NewSender(client(t, s), u, "t.123").Send(t.Context(), batch("one\x00\xff", "up", "", long)); err != nil || problem != nil {
		t.Fatal(err, problem)
	}
	want := []string{"<190> app[web.1]: one\x00\xff", "<45> heroku[web.1]: up", "<134> heroku[web.1]: ", "<172> heroku[web.1]: " + long}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"Logplex-Msg-Count": "4", "Logplex-Frame-Id": "frame-7", "Logplex-Drain-Token": "t.123", "Authorization": "token t.123", "Path": "/logs?x=y",
	} {
		if headers.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, headers.Get(name), want)
		}
	}
	u.User = url.UserPassword("me", "pw")
	for _, token := range []string{"", "t.123"} {
		err := logplex.NewSender(client(t, s), u, token).Send(t.Context(), batch("one"))
		if err != nil || headers.Get("Authorization") != "me pw" || headers.Get("Logplex-Drain-Token") != token {
			t.Error(err, headers)
		}
	}
}

func TestAnswers(t *testing.T) {
	for status, final := range map[int]bool{200: false, 202: false, 299: false, 301: false, 400: true, 403: true, 404: true, 408: false, 413: true, 425: false, 429: false, 500: false, 503: false} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "17")
			w.Header().Set("Location", "https://elsewhere.example")
			w.WriteHeader(status)
		})
		err := logplex.NewSender(client(t, s), parse(t, s.URL), "").Send(t.Context(), batch("x"))
		refusal, refused := errors.AsType[*logplex.Refusal](err)
		if refused != (status/100 != 2) || errdefs.IsInvalidArgument(err) != final || refused && !final != errdefs.IsUnavailable(err) {
			t.Errorf("%d: %v", status, err)
		}
		if refused && (refusal.Status != status || refusal.RetryAfter != 17*time.Second) {
			t.Errorf("%d: %+v", status, refusal)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, "-1": 0, "soon": 0, "99999999999999999999": 0,
		"Fri, 02 Jan 2026 15:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 15:00:00 GMT": 0,
	} {
		if got := logplex.RetryAfter(value, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// TestErrorsTellNoSecret also sees that ctx ends an attempt.
func TestErrorsTellNoSecret(t *testing.T) {
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	u := parse(t, s.URL+"/hidden?hidden=1")
	u.User = url.UserPassword("hidden", "hidden")
	silent := logplex.NewSender(client(t, s), u, "hidden").Send(ctx, batch("x"))
	u.Host = "127.0.0.1:1"
	nobody := logplex.NewSender(client(t, s), u, "hidden").Send(t.Context(), batch("x"))
	u.Host = "169.254.169.254"
	local := logplex.NewSender(client(t, s), u, "hidden").Send(t.Context(), batch("x"))
	for name, err := range map[string]error{"silent": silent, "nobody": nobody, "link-local": local} {
		if err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !errdefs.IsPermissionDenied(local) { // a proxy would be asked for it instead
		t.Error(local)
	}
}
