// Package transfer watches downloads: how far they are, and that they go on. It begins none.
package transfer

import "sync/atomic"

// Progress is how far a download is. Its methods may be called by any goroutine.
type Progress struct{ fetched, expected atomic.Int64 }

// Fetched counts bytes that have arrived.
func (p *Progress) Fetched(n int64) { p.fetched.Add(n) }

// Expect counts bytes that are known to come, or to have come.
func (p *Progress) Expect(n int64) { p.expected.Add(n) }

// Now is the number of bytes that have arrived, and of those that will have at the end; 0 while that is unknown.
func (p *Progress) Now() (fetched, expected int64) {
	return p.fetched.Load(), p.expected.Load()
}
