package dyno

import "time"

// Policy is the crash policy of an order. The zero Policy leaves every crash to the control plane.
type Policy struct {
	Backoff    bool            `json:"backoff,omitempty"`
	Delays     []time.Duration `json:"delays,omitempty"`      // after the first, second, … crash; the last repeats
	ResetAfter time.Duration   `json:"reset_after,omitempty"` // a life that was up so long forgets earlier crashes
}

// maxDelays bounds a schedule, and maxCrashes, which must not be less, what a record remembers of a dyno that crashes
// for ever.
const (
	maxDelays  = 100
	maxCrashes = 200
)

// Next says how long to wait for the next life after the newest of crashes, and whether there is one.
func (p Policy) Next(crashes []time.Time, now time.Time) (time.Duration, bool) {
	if !p.Backoff || len(crashes) == 0 || len(p.Delays) == 0 {
		return 0, false
	}
	delay := p.Delays[min(len(crashes), len(p.Delays))-1]
	return max(0, crashes[len(crashes)-1].Add(delay).Sub(now)), true
}

func (p Policy) complete(otherwise Policy) Policy {
	if !p.Backoff {
		return Policy{}
	}
	if len(p.Delays) == 0 {
		p.Delays = otherwise.Delays
	}
	p.ResetAfter = or(p.ResetAfter, otherwise.ResetAfter)
	return p
}

func (p Policy) validate(v *Invalid) {
	v.unless(len(p.Delays) <= maxDelays, "spec.restart_policy.delays", "must be at most %d", maxDelays)
	for _, d := range p.Delays {
		v.unless(d >= 0, "spec.restart_policy.delays", "must not be negative")
	}
	v.unless(p.ResetAfter >= 0, "spec.restart_policy.reset_after", "must not be negative")
}
