package dyno

import (
	"slices"
	"time"
)

// Record is all that is remembered about one dyno. It is a value: a change makes a new one.
type Record struct {
	ID         string      `json:"id"`
	Generation int64       `json:"generation"` // of the newest order obeyed
	Revision   int64       `json:"revision"`   // counts the changes of this record
	Slot       int         `json:"slot"`       // its number on the host: address, port, link and ids derive from it
	BootID     string      `json:"boot_id"`    // of the host, when the newest life began
	Spec       Spec        `json:"spec"`
	Phase      Phase       `json:"phase"`
	Since      time.Time   `json:"since"`    // when Phase began
	Accepted   time.Time   `json:"accepted"` // when the order came
	Lives      int         `json:"lives"`    // starts of the command
	Started    time.Time   `json:"started,omitzero"`
	Stop       *Stop       `json:"stop,omitempty"`
	Exit       *Exit       `json:"exit,omitempty"`       // of the newest life that ended
	Image      *Image      `json:"image,omitempty"`      // what the newest life was launched from
	Client     Client      `json:"client,omitzero"`      // of an attached dyno
	Killed     time.Time   `json:"killed,omitzero"`      // when SIGKILL went out in this life
	KilledFor  ErrorCode   `json:"killed_for,omitempty"` // why
	Crashes    []time.Time `json:"crashes,omitempty"`
	NextStart  time.Time   `json:"next_start,omitzero"` // of a crashed dyno whose policy starts it again
	Reason     string      `json:"reason,omitempty"`
	Stuck      bool        `json:"stuck,omitempty"`    // could not be ended; keeps its capacity
	Released   bool        `json:"released,omitempty"` // nothing of it is left on the host but record and spool
	Reported   bool        `json:"reported,omitempty"` // the control plane has acknowledged its end
}

// Stop is an accepted stop order.
type Stop struct {
	At     time.Time     `json:"at"`    // of the order; of its SIGTERM once Sent
	Grace  time.Duration `json:"grace"` // from At to SIGKILL, whatever restarts in between
	Reason string        `json:"reason,omitempty"`
	From   Phase         `json:"from"`           // the phase it came in
	Sent   bool          `json:"sent,omitempty"` // SIGTERM has gone out
}

// Exit is how one life ended.
type Exit struct {
	Code    int       `json:"code"` // the command's status, or 128 + signal; -1 when the platform lost it
	Signal  int       `json:"signal,omitempty"`
	OOM     bool      `json:"oom,omitempty"`  // the kernel killed for the dyno's own memory limit
	Peak    int64     `json:"peak,omitempty"` // most memory and swap of such a dyno, bytes; 0: the kernel did not say
	At      time.Time `json:"at"`
	Failure string    `json:"failure,omitempty"`    // why the platform lost it or ended it
	Error   ErrorCode `json:"error_code,omitempty"` // Heroku's code, where one applies
}

// Lost is the exit of a dyno whose end nobody saw.
func Lost(why string, at time.Time) Exit {
	return Exit{Code: -1, At: at, Failure: why, Error: R99}
}

// New is the record of an order just accepted.
func New(id string, generation int64, slot int, bootID string, s Spec, at time.Time) Record {
	return Record{ID: id, Generation: generation, Slot: slot, BootID: bootID, Spec: s, Phase: Starting, Since: at, Accepted: at}
}

// Weighs says whether a change must outlive the host's going down. What else changes is of dynos that run: it would be of no use
// after that. That a dyno is up is told by its last line only, and can wait.
func (r Record) Weighs(before Record) bool {
	return r.Phase != before.Phase && r.Phase != Up || r.Generation != before.Generation || (r.Stop == nil) != (before.Stop == nil) ||
		r.Exit != before.Exit || r.Client != before.Client || r.Reported != before.Reported
}

// To is the record in another phase. The error says that this phase cannot follow.
func (r Record) To(p Phase, at time.Time) (Record, error) {
	if err := r.Phase.mayBecome(p); err != nil {
		return r, err
	}
	r.Phase, r.Since = p, at
	return r, nil
}

// Ended says that no life of this dyno will follow.
func (r Record) Ended() bool {
	return r.Phase == Down || r.Phase == Complete || r.Phase == Crashed && r.NextStart.IsZero()
}

// Shown is the phase as owners read it.
func (r Record) Shown() Phase {
	if r.Phase == Stopping {
		return r.Stop.From
	}
	return r.Phase
}

// Stopped is the record after a stop order that came at the given time.
func (r Record) Stopped(generation int64, grace time.Duration, reason string, at time.Time) (Record, error) {
	r.Generation = max(r.Generation, generation)
	if r.Stop != nil || r.Ended() {
		return r, nil
	}
	if grace < 0 {
		grace = r.Spec.Grace
	}
	r.Stop = &Stop{At: at, Grace: grace, Reason: reason, From: r.Phase}
	r.NextStart = time.Time{}
	if r.Phase == Crashed {
		return r.To(Down, at)
	}
	return r.To(Stopping, at)
}

// Cancelled is the record of a dyno that was stopped before its command ran.
func (r Record) Cancelled(at time.Time) (Record, error) { return r.To(Down, at) }

// Launched is the record whose command is about to run; the boot clock starts here.
func (r Record) Launched(image Image, at time.Time) Record {
	r.Started = at
	if r.Spec.Artifact.Image != "" {
		r.Image = &image
	}
	r.Lives++
	return r
}

// Exited is the record after the end of one life: down when it was ordered, complete when it was meant to end,
// otherwise crashed, with the time of the next start where the policy gives one.
func (r Record) Exited(e Exit) (Record, error) {
	wasUp := r.Phase == Up && !r.Started.IsZero()
	upFor := e.At.Sub(r.Since)
	if e.Error == "" {
		e.Error = r.KilledFor
	}
	r.Exit = &e
	r.Reason = or(e.Failure, r.Reason)
	if r.Stop != nil {
		return r.To(Down, e.At)
	}
	if r.Spec.OneOff && e.Failure == "" {
		return r.To(Complete, e.At)
	}
	if r.Spec.Restart.ResetAfter > 0 && wasUp && upFor >= r.Spec.Restart.ResetAfter {
		r.Crashes = nil
	}
	r.Crashes = append(slices.Clone(r.Crashes), e.At)
	r.Crashes = r.Crashes[max(0, len(r.Crashes)-maxCrashes):]
	if delay, again := r.Spec.Restart.Next(r.Crashes, e.At); again && !r.Spec.Secret.Gone {
		r.NextStart = e.At.Add(delay)
	}
	return r.To(Crashed, e.At)
}

// GivenUp is the record of a crashed dyno that cannot start again: its secret part went with the host's memory.
func (r Record) GivenUp(why string) Record {
	r.NextStart, r.Reason = time.Time{}, why
	return r
}

// Again is the record of a crashed dyno whose next life begins.
func (r Record) Again(bootID string, at time.Time) (Record, error) {
	r.NextStart, r.Started, r.Killed, r.KilledFor = time.Time{}, time.Time{}, time.Time{}, ""
	r.BootID, r.Released, r.Reason = bootID, false, ""
	return r.To(Starting, at)
}
