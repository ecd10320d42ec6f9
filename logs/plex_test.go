package logs_test

import (
	"compress/gzip"
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/heroku/x/logplex/encoding"

	"github.com/dynod/dynod/logs"
)

// plex is a Logplex receiver that holds what it gets against the contract.
type plex struct {
	t      *testing.T
	server *httptest.Server
	ca     string

	mu      sync.Mutex
	lines   []encoding.Message // without notices
	dropped int64              // by L12
	lost    int64              // by L13
	taken   int                // requests
	ids     map[string]bool
	status  func(request int) int // of an answer; nil: always 204
	asked   int
	grown   chan struct{}
}

func newPlex(t *testing.T) *plex {
	p := &plex{t: t, ids: map[string]bool{}, grown: make(chan struct{})}
	p.server = httptest.NewTLSServer(p)
	t.Cleanup(p.server.Close)
	p.ca = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	if err := os.WriteFile(p.ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *plex) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	messages, err := messagesOf(r)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	status := http.StatusNoContent
	if p.status != nil {
		status = p.status(p.asked)
	}
	if status/100 == 2 && err == nil {
		err = p.take(r.Header.Get("Logplex-Frame-Id"), messages)
	}
	if err != nil {
		p.t.Errorf("request %d: %v", p.asked, err)
	}
	w.WriteHeader(status)
}

func messagesOf(r *http.Request) (all []encoding.Message, err error) {
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	s := encoding.NewScanner(z)
	for s.Scan() {
		all = append(all, s.Message())
	}
	if count := r.Header.Get("Logplex-Msg-Count"); count != strconv.Itoa(len(all)) || len(all) == 0 || len(all) > 500 {
		return nil, fmt.Errorf("count %q of %d", count, len(all))
	}
	return all, s.Err()
}

var noticePattern = regexp.MustCompile(`^Error (L12: (\d+) messages dropped|L13: (\d+) messages lost) since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$`)

// take counts notices, which come before every line of a batch. What comes a second time is dropped.
func (p *plex) take(id string, messages []encoding.Message) error {
	if p.ids[id] {
		return nil
	}
	p.ids[id] = true
	p.taken++
	lines := false
	for _, m := range messages {
		if m.Priority != 172 {
			lines = true
			p.lines = append(p.lines, m)
			continue
		}
		found := noticePattern.FindStringSubmatch(m.Message)
		if found == nil || lines || m.Application != "heroku" {
			return fmt.Errorf("notice %+v, after lines: %v", m, lines)
		}
		dropped, _ := strconv.ParseInt("0"+found[2], 10, 64)
		lost, _ := strconv.ParseInt("0"+found[3], 10, 64)
		p.dropped, p.lost = p.dropped+dropped, p.lost+lost
	}
	close(p.grown)
	p.grown = make(chan struct{})
	return nil
}

// receiver is how a dyno names it.
func (p *plex) receiver() logs.Receiver { return logs.Receiver{URL: p.server.URL, Token: "t.1"} }

// answer sets the status of the requests to come.
func (p *plex) answer(status func(request int) int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = status
}

// sum is what it has and what it was told of.
func (p *plex) sum() (lines []encoding.Message, dropped, lost int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines, p.dropped, p.lost
}

// reach waits until lines and losses make up so many.
func (p *plex) reach(ctx context.Context, total int64) error {
	for {
		p.mu.Lock()
		have, grown := int64(len(p.lines))+p.dropped+p.lost, p.grown
		p.mu.Unlock()
		if have >= total {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("plex has %d of %d: %w", have, total, ctx.Err())
		}
	}
}
