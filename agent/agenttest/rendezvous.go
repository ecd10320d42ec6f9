package agenttest

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
)

// Rendezvous is a fake agent.Rendezvous: a client waits at every URL.
type Rendezvous struct {
	// Clients are the far ends of the connections made.
	Clients chan net.Conn

	mu   sync.Mutex
	urls []string
	fail error
}

// NewRendezvous is one where every dial works.
func NewRendezvous() *Rendezvous { return &Rendezvous{Clients: make(chan net.Conn, 16)} }

// Fail makes Dial fail until err is nil again.
func (r *Rendezvous) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// URLs are those that were dialled.
func (r *Rendezvous) URLs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.urls)
}

// Dial connects to Clients.
func (r *Rendezvous) Dial(_ context.Context, url string) (io.ReadWriteCloser, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.urls = append(r.urls, url)
	if r.fail != nil {
		return nil, r.fail
	}
	near, far := net.Pipe()
	r.Clients <- far
	return near, nil
}
