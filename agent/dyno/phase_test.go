package dyno_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/agent/dyno"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestPhasesThatMayFollow(t *testing.T) {
	all := []dyno.Phase{dyno.Starting, dyno.Up, dyno.Stopping, dyno.Down, dyno.Crashed, dyno.Complete}
	want := map[dyno.Phase][]dyno.Phase{
		dyno.Starting: {dyno.Up, dyno.Stopping, dyno.Down, dyno.Crashed, dyno.Complete},
		dyno.Up:       {dyno.Stopping, dyno.Down, dyno.Crashed, dyno.Complete},
		dyno.Stopping: {dyno.Down},
		dyno.Crashed:  {dyno.Starting, dyno.Down},
	}
	for _, from := range all {
		var may []dyno.Phase
		for _, to := range all {
			next, err := dyno.Record{Phase: from}.To(to, noon)
			if err != nil {
				if next.Phase != from {
					t.Errorf("%s to %s: refused and changed", from, to)
				}
				continue
			}
			may = append(may, to)
			if next.Phase != to || !next.Since.Equal(noon) {
				t.Errorf("%s to %s: got %s since %s", from, to, next.Phase, next.Since)
			}
		}
		if diff := cmp.Diff(want[from], may); diff != "" {
			t.Errorf("after %s: %s", from, diff)
		}
	}
}

func TestWhatOutlivesTheHostWeighs(t *testing.T) {
	up := dyno.Record{Phase: dyno.Up, Generation: 1, Stop: nil}
	for name, c := range map[string]struct {
		change func(*dyno.Record)
		weighs bool
	}{
		"launched":     {func(r *dyno.Record) { r.Started, r.Lives = noon, 1 }, false},
		"released":     {func(r *dyno.Record) { r.Released = true }, false},
		"killed":       {func(r *dyno.Record) { r.Killed, r.KilledFor = noon, dyno.R15 }, false},
		"phase":        {func(r *dyno.Record) { r.Phase = dyno.Crashed }, true},
		"order":        {func(r *dyno.Record) { r.Generation = 2 }, true},
		"stop":         {func(r *dyno.Record) { r.Stop = &dyno.Stop{} }, true},
		"exit":         {func(r *dyno.Record) { r.Exit = &dyno.Exit{} }, true},
		"client":       {func(r *dyno.Record) { r.Client.Came = noon }, true},
		"acknowledged": {func(r *dyno.Record) { r.Reported = true }, true},
	} {
		next := up
		c.change(&next)
		if next.Weighs(up) != c.weighs {
			t.Errorf("%s: weighs %t", name, !c.weighs)
		}
	}
	if up.Weighs(dyno.Record{Phase: dyno.Starting, Generation: 1}) {
		t.Error("that a dyno is up weighs")
	}
	stopping := dyno.Record{Phase: dyno.Stopping, Stop: &dyno.Stop{}}
	sent := stopping
	sent.Stop = &dyno.Stop{Sent: true}
	if sent.Weighs(stopping) {
		t.Error("SIGTERM that went out weighs")
	}
}

func TestExited(t *testing.T) {
	backoff := dyno.Policy{Backoff: true, Delays: []time.Duration{0, time.Minute}, ResetAfter: time.Hour}
	tests := map[string]struct {
		record  dyno.Record
		failure string
		phase   dyno.Phase
		next    time.Time
		crashes int
	}{
		"ordered":                     {dyno.Record{Phase: dyno.Stopping, Stop: &dyno.Stop{From: dyno.Up}}, "", dyno.Down, time.Time{}, 0},
		"status 0 is a crash too":     {dyno.Record{Phase: dyno.Up}, "", dyno.Crashed, time.Time{}, 1},
		"one-off":                     {dyno.Record{Phase: dyno.Up, Spec: dyno.Spec{OneOff: true}}, "", dyno.Complete, time.Time{}, 0},
		"one-off lost":                {dyno.Record{Phase: dyno.Up, Spec: dyno.Spec{OneOff: true}}, "gone", dyno.Crashed, time.Time{}, 1},
		"first crash, at once":        {dyno.Record{Phase: dyno.Starting, Spec: dyno.Spec{Restart: backoff}}, "", dyno.Crashed, noon, 1},
		"second crash, later":         {dyno.Record{Phase: dyno.Up, Since: noon, Started: noon, Spec: dyno.Spec{Restart: backoff}, Crashes: []time.Time{noon}}, "", dyno.Crashed, noon.Add(time.Minute), 2},
		"a long life forgets crashes": {dyno.Record{Phase: dyno.Up, Since: noon.Add(-time.Hour), Started: noon, Spec: dyno.Spec{Restart: backoff}, Crashes: []time.Time{noon, noon}}, "", dyno.Crashed, noon, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := test.record.Exited(dyno.Exit{Code: 0, At: noon, Failure: test.failure})
			if err != nil {
				t.Fatal(err)
			}
			if got.Phase != test.phase || !got.NextStart.Equal(test.next) || len(got.Crashes) != test.crashes {
				t.Errorf("got %s, next %s, %d crashes; want %s, %s, %d", got.Phase, got.NextStart, len(got.Crashes), test.phase, test.next, test.crashes)
			}
			if got.Ended() == (test.phase == dyno.Crashed && !test.next.IsZero()) {
				t.Errorf("Ended is %v", got.Ended())
			}
		})
	}
}

func TestStopped(t *testing.T) {
	spec := dyno.Spec{Grace: 30 * time.Second}
	up := dyno.Record{Phase: dyno.Up, Generation: 3, Spec: spec}
	first, err := up.Stopped(4, -1, "Cycling", noon)
	if err != nil {
		t.Fatal(err)
	}
	want := &dyno.Stop{At: noon, Grace: 30 * time.Second, Reason: "Cycling", From: dyno.Up}
	if diff := cmp.Diff(want, first.Stop); diff != "" || first.Phase != dyno.Stopping || first.Shown() != dyno.Up || first.Generation != 4 {
		t.Errorf("first stop: %s, phase %s shown as %s, generation %d", diff, first.Phase, first.Shown(), first.Generation)
	}
	second, err := first.Stopped(5, time.Second, "", noon.Add(time.Minute))
	if err != nil || !cmp.Equal(first.Stop, second.Stop) || second.Generation != 5 {
		t.Errorf("a second stop changed the first: %+v, %v", second.Stop, err)
	}
	waiting := dyno.Record{Phase: dyno.Crashed, NextStart: noon, Spec: spec}
	if got, err := waiting.Stopped(1, -1, "", noon); err != nil || got.Phase != dyno.Down || !got.Ended() {
		t.Errorf("stop of a crashed dyno that waits: %s, %v", got.Phase, err)
	}
}

func TestNext(t *testing.T) {
	schedule := dyno.Policy{Backoff: true, Delays: []time.Duration{0, 20 * time.Minute, 40 * time.Minute}}
	for crashes, want := range map[int]time.Duration{1: 0, 2: 20 * time.Minute, 3: 40 * time.Minute, 4: 40 * time.Minute, 9: 40 * time.Minute} {
		at := make([]time.Time, crashes)
		for i := range at {
			at[i] = noon
		}
		if got, again := schedule.Next(at, noon); got != want || !again {
			t.Errorf("after %d crashes: %s, %v; want %s", crashes, got, again, want)
		}
	}
	if got, again := schedule.Next([]time.Time{noon, noon}, noon.Add(5*time.Minute)); got != 15*time.Minute || !again {
		t.Errorf("time that has passed does not count: %s", got)
	}
	if _, again := (dyno.Policy{}).Next([]time.Time{noon}, noon); again {
		t.Error("the policy none starts again")
	}
}

func TestNextDue(t *testing.T) {
	web := dyno.Spec{Type: "web", BootTimeout: time.Minute, TimeToLive: time.Hour}
	tests := map[string]struct {
		record dyno.Record
		due    dyno.Due
		at     time.Time
	}{
		"web boots":              {dyno.Record{Phase: dyno.Starting, Started: noon, Accepted: noon, Spec: web}, dyno.BootExpired, noon.Add(time.Minute)},
		"not yet launched":       {dyno.Record{Phase: dyno.Starting, Accepted: noon, Spec: web}, dyno.LifeOver, noon.Add(time.Hour)},
		"up, bounded":            {dyno.Record{Phase: dyno.Up, Started: noon, Accepted: noon, Spec: web}, dyno.LifeOver, noon.Add(time.Hour)},
		"up, unbounded":          {dyno.Record{Phase: dyno.Up, Started: noon}, dyno.Nothing, time.Time{}},
		"worker does not boot":   {dyno.Record{Phase: dyno.Starting, Started: noon, Spec: dyno.Spec{Type: "worker", BootTimeout: time.Minute}}, dyno.Nothing, time.Time{}},
		"grace from first order": {dyno.Record{Phase: dyno.Stopping, Spec: web, Stop: &dyno.Stop{At: noon, Grace: time.Second, Sent: true}}, dyno.GraceOver, noon.Add(time.Second)},
		"killed":                 {dyno.Record{Phase: dyno.Stopping, Spec: web, Stop: &dyno.Stop{At: noon}, Killed: noon}, dyno.KillFailed, noon.Add(10 * time.Second)},
	}
	for name, test := range tests {
		if due, at := test.record.NextDue(); due != test.due || !at.Equal(test.at) {
			t.Errorf("%s: got %v at %s, want %v at %s", name, due, at, test.due, test.at)
		}
	}
}
