package dyno

import "time"

// Due is what happens to a running dyno when its time comes.
type Due int

// What may be due.
const (
	Nothing     Due = iota
	BootExpired     // a web dyno does not listen yet: R10
	LifeOver        // its time to live has passed
	GraceOver       // it was told to end and has not: R12
	KillFailed      // it outlived SIGKILL: the host is in trouble

	AttachExpired // nobody has attached: R13
	HangUp        // its client is lost, and it gets SIGHUP
	HangUpFailed  // it has not heeded that: R16
)

// killPatience is how long the kernel may take to end a killed dyno before other means are tried.
const killPatience = 10 * time.Second

// NextDue is what comes next in this life if the dyno does nothing, and when.
func (r Record) NextDue() (Due, time.Time) {
	switch {
	case !r.Killed.IsZero():
		return KillFailed, r.Killed.Add(killPatience)
	case r.Stop != nil:
		return GraceOver, r.Stop.At.Add(r.Stop.Grace)
	}
	due, at := r.clientDue()
	if end := r.Accepted.Add(r.Spec.TimeToLive); r.Spec.TimeToLive > 0 && (due == Nothing || end.Before(at)) {
		due, at = LifeOver, end
	}
	if boot := r.Started.Add(r.Spec.BootTimeout); r.Phase == Starting && r.Spec.Web() && !r.Started.IsZero() && (due == Nothing || boot.Before(at)) {
		due, at = BootExpired, boot
	}
	return due, at
}
