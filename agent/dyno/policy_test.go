package dyno_test

import (
	"testing"
	"time"

	"github.com/dynod/dynod/agent/dyno"
)

// TestSchedule leads a dyno through crash after crash and looks at the pauses between.
func TestSchedule(t *testing.T) {
	policy := dyno.Policy{Backoff: true, ResetAfter: 10 * time.Minute, Delays: []time.Duration{
		0, 20 * time.Minute, 40 * time.Minute, time.Hour, 3 * time.Hour, 320 * time.Minute,
	}}
	r := dyno.Record{Phase: dyno.Starting, Spec: dyno.Spec{Restart: policy}}
	at := noon
	for i, step := range []struct {
		up      time.Duration // in this life; negative: it did not get there
		crashes int
		pause   time.Duration
	}{
		{-1, 1, 0},
		{10*time.Minute - 1, 2, 20 * time.Minute},
		{0, 3, 40 * time.Minute},
		{-1, 4, time.Hour},
		{time.Second, 5, 3 * time.Hour},
		{time.Second, 6, 320 * time.Minute},
		{time.Second, 7, 320 * time.Minute},
		{9 * time.Minute, 8, 320 * time.Minute},
		{10 * time.Minute, 1, 0}, // long enough
		{time.Second, 2, 20 * time.Minute},
		{-1, 3, 40 * time.Minute},
		{time.Hour, 1, 0},
	} {
		r = r.Launched(dyno.Image{}, at)
		at = at.Add(time.Hour) // a slow boot is no stay
		if step.up >= 0 {
			r, _ = r.To(dyno.Up, at)
			at = at.Add(step.up)
		}
		var err error
		if r, err = r.Exited(dyno.Exit{Code: 1, At: at}); err != nil {
			t.Fatal(err)
		}
		if len(r.Crashes) != step.crashes || !r.NextStart.Equal(at.Add(step.pause)) || r.Ended() {
			t.Errorf("life %d: %d crashes, next start after %s; want %d, %s", i+1, len(r.Crashes), r.NextStart.Sub(at), step.crashes, step.pause)
		}
		at = r.NextStart
		if r, err = r.Again("boot", at); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPolicyIsCompleted(t *testing.T) {
	host := dyno.Policy{Delays: []time.Duration{time.Second}, ResetAfter: time.Minute}
	own := dyno.Policy{Backoff: true, Delays: []time.Duration{0}, ResetAfter: time.Hour}
	for name, test := range map[string]struct {
		order dyno.Policy
		delay time.Duration
		reset time.Duration
		again bool
	}{
		"none":    {dyno.Policy{}, 0, 0, false},
		"silent":  {dyno.Policy{Backoff: true}, time.Second, time.Minute, true},
		"its own": {own, 0, time.Hour, true},
	} {
		d, s := defaults(), slug()
		d.Restart, s.Restart = host, test.order
		got, err := d.Complete(s)
		delay, again := got.Restart.Next([]time.Time{noon}, noon)
		if err != nil || delay != test.delay || again != test.again || got.Restart.ResetAfter != test.reset {
			t.Errorf("%s: %+v: %s, %v; %v", name, got.Restart, delay, again, err)
		}
	}
}

// A dyno that crashes for ever has a record of bounded size, and the last pause of its schedule.
func TestCrashesForEver(t *testing.T) {
	r := dyno.Record{Phase: dyno.Starting, Spec: dyno.Spec{Restart: dyno.Policy{Backoff: true, Delays: []time.Duration{0, time.Second}}}}
	for range 10_000 {
		r, _ = r.Exited(dyno.Exit{Code: 1, At: noon})
		if len(r.Crashes) > 1 && !r.NextStart.Equal(noon.Add(time.Second)) {
			t.Fatalf("after %d crashes: next start %s", len(r.Crashes), r.NextStart)
		}
		r, _ = r.Again("boot", noon)
	}
	if len(r.Crashes) > 200 {
		t.Errorf("%d crashes are remembered", len(r.Crashes))
	}
}

// Nothing starts again without the secret part of its order.
func TestCrashWithoutSecrets(t *testing.T) {
	r := dyno.Record{Phase: dyno.Up, Started: noon, Spec: dyno.Spec{
		Restart: dyno.Policy{Backoff: true, Delays: []time.Duration{0}}, Secret: dyno.Secret{Gone: true},
	}}
	if got, err := r.Exited(dyno.Lost("host reboot", noon)); err != nil || got.Phase != dyno.Crashed || !got.Ended() {
		t.Errorf("%+v %v", got, err)
	}
	waiting := dyno.Record{Phase: dyno.Crashed, NextStart: noon}
	if got := waiting.GivenUp("host reboot"); !got.Ended() || got.Reason != "host reboot" {
		t.Errorf("%+v", got)
	}
}
