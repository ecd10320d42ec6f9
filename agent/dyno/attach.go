package dyno

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// Attach asks that a one-off dyno's command starts only once a client is there, and talks to that client alone.
type Attach struct {
	Terminal bool   `json:"terminal,omitempty"`
	Rows     uint16 `json:"rows,omitempty"` // of the terminal at its start
	Columns  uint16 `json:"columns,omitempty"`
}

// AttachTimeout is how long an attached dyno awaits its client.
const AttachTimeout = 30 * time.Second

// A client that is lost means SIGHUP, so often and in such steps; after one more step the dyno is detached.
const (
	hangUps     = 3
	hangUpEvery = 5 * time.Second
)

// Client is what became of an attached dyno's client in this life.
type Client struct {
	Awaited  time.Time `json:"awaited,omitzero"`   // since when; the clock of R13
	Came     time.Time `json:"came,omitzero"`      // its command starts then
	Left     time.Time `json:"left,omitzero"`      // when its connection was lost
	HangUps  int       `json:"hang_ups,omitempty"` // SIGHUPs sent since
	Detached bool      `json:"detached,omitempty"` // R16 has been told
}

// Awaits is the record of a dyno that is ready for its client.
func (r Record) Awaits(at time.Time) Record {
	r.Client = Client{Awaited: at}
	return r
}

// Attachable says whether a client may attach now. An error says that none may any more, of class FailedPrecondition;
// false without one, that the dyno is not ready yet.
func (r Record) Attachable() (bool, error) {
	var why string
	switch {
	case r.Spec.Attach == nil:
		why = "was not ordered with attach"
	case r.Ended():
		why = "has ended"
	case r.Stop != nil || !r.Killed.IsZero():
		why = "is being ended"
	case !r.Client.Left.IsZero():
		why = "has lost its client, and takes no other"
	case !r.Client.Came.IsZero():
		why = "has its client"
	default:
		return !r.Client.Awaited.IsZero(), nil
	}
	return false, fmt.Errorf("dyno %s %s: %w", r.ID, why, errdefs.ErrFailedPrecondition)
}

// Attached is the record of a dyno whose client has come.
func (r Record) Attached(at time.Time) (Record, error) {
	now, err := r.Attachable()
	if err == nil && !now {
		err = fmt.Errorf("dyno %s does not await its client yet: %w", r.ID, errdefs.ErrUnavailable)
	}
	if err != nil {
		return r, err
	}
	r.Client.Came = at
	return r, nil
}

// Vacated is the record of a dyno whose client is lost, with the agent that it had come to, before the command ran:
// another may come while the clock runs.
func (r Record) Vacated() Record {
	r.Client.Came = time.Time{}
	return r
}

// Abandoned is the record of a running dyno that has lost its client.
func (r Record) Abandoned(at time.Time) Record {
	r.Client.Left = at
	return r
}

// Abandonable says whether the loss of its client means anything to the dyno: it runs, and nothing else ends it.
func (r Record) Abandonable() bool {
	return !r.Client.Came.IsZero() && r.Client.Left.IsZero() && r.Stop == nil && r.Killed.IsZero()
}

// HungUp is the record after one more SIGHUP.
func (r Record) HungUp() Record {
	r.Client.HangUps++
	return r
}

// Detached is the record of a dyno that heeds no SIGHUP. It lives on.
func (r Record) Detached() Record {
	r.Client.Detached = true
	return r
}

// clientDue is what comes next between a dyno and its client.
func (r Record) clientDue() (Due, time.Time) {
	c := r.Client
	switch next := c.Left.Add(time.Duration(c.HangUps) * hangUpEvery); {
	case c.Awaited.IsZero() || c.Detached:
	case c.Came.IsZero():
		return AttachExpired, c.Awaited.Add(AttachTimeout)
	case c.Left.IsZero():
	case c.HangUps < hangUps:
		return HangUp, next
	default:
		return HangUpFailed, next
	}
	return Nothing, time.Time{}
}

// maxRendezvous bounds the URL of a rendezvous in bytes.
const maxRendezvous = 1024

// validateAttach names no part of the URL, which is secret.
func (s Spec) validateAttach(v *Invalid) {
	if s.Attach == nil {
		return
	}
	v.unless(s.OneOff, "spec.one_off", "must be set for a dyno with spec.attach")
	v.unless(!s.Restart.Backoff, "spec.restart_policy.kind", "must be none for an attached dyno: a client comes once")
	if s.Secret.RendezvousURL == "" {
		return
	}
	v.unless(rendezvous(s.Secret.RendezvousURL), "spec.attach.rendezvous_url", "must look like rendezvous://host:port/secret, and be at most %d bytes", maxRendezvous)
}

func rendezvous(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && len(raw) <= maxRendezvous && printable(raw) && u.Scheme == "rendezvous" && u.User == nil &&
		u.Hostname() != "" && u.Port() != "" && len(u.Path) > 1 && u.RawQuery == "" && u.Fragment == ""
}

// ValidateWords checks the words of a further command, by their name on the wire.
func ValidateWords(words []string) error {
	var v Invalid
	v.words("start.command", words)
	v.unless(len(words) == 0 || words[0] != "", "start.command[0]", "must not be empty")
	return v.orNil()
}

// WithTerm is an environment for a terminal: it names one.
func WithTerm(env []string) []string {
	if slices.ContainsFunc(env, func(pair string) bool { return strings.HasPrefix(pair, "TERM=") }) {
		return env
	}
	return append(slices.Clone(env), "TERM=xterm")
}
