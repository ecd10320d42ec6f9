package contract_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

const fromCrashed = "State changed from crashed to starting"

func crashes() []sentence {
	return []sentence{
		{"C1", "Without a crash policy a crash is reported and nothing more is done.", func(s *stage) error {
			l := s.zero()
			return errors.Join(l.err, unless(l.dyno.GetLives() == 1 && l.dyno.GetNextStartAt() == nil, "it is %v", l.dyno))
		}},
		{"C2", "With `backoff` a dyno starts again at once after its first crash: `State changed from crashed to starting`.", func(s *stage) error {
			l := s.again()
			once := []string{starting("./web crash 100ms 3"), toUp, exited(3), upCrashed}
			return l.platform(slices.Concat(once, []string{fromCrashed}, once, []string{"State changed from crashed to down"})...)
		}},
		{"C3", "After the following crashes it waits 20, 40, 60, 180 and 320 minutes, and 320 from there.", func(s *stage) error {
			var waiting *dynodv1.Dyno
			l := s.play(s.order("worker.1", "exit 1", backoff()), s.lives(2), func(id string) (err error) {
				waiting, err = s.await(id, "a second crash", func(d *dynodv1.Dyno) bool { return d.GetLives() == 2 && d.GetNextStartAt() != nil })
				return err
			}, s.stop(""))
			delay := waiting.GetNextStartAt().AsTime().Sub(waiting.GetExit().GetAt().AsTime())
			return errors.Join(l.err, unless(delay == 20*time.Minute, "it waits %s", delay), schedule(waiting, 0, 20, 40, 60, 180, 320))
		}},
		{"C4", "An order may give its own delays; the last repeats.", func(s *stage) error {
			l := s.play(s.order("worker.1", "echo life; exit 1", backoff(0, 1)), s.lives(4), s.stop(""))
			return errors.Join(l.err, unless(rigCount(l, "life") >= 4, "it lived %d times", rigCount(l, "life")), l.spaced(time.Second))
		}},
		{"C5", "A life that was up long enough, 10 minutes unless the order says otherwise, lets the count begin anew.", func(s *stage) error {
			quick := func(o *dynodv1.StartDynoRequest) { o.Spec.RestartPolicy.ResetAfter = durationpb.New(time.Second) }
			l := s.play(s.order("worker.1", "./web crash 1500ms", backoff(0, hour), quick), s.lives(3), s.stop(""))
			return errors.Join(l.err, unless(l.dyno.GetCrashes() <= 1, "it counts %d", l.dyno.GetCrashes()))
		}},
		{"C6", "A stop order ends the waiting.", func(s *stage) error { return s.again().exit(down, 3, "") }},
		{"C7", "The policy, the crashes counted and the time of the next start are shown with the dyno.", func(s *stage) error {
			d := s.trouble().before
			return errors.Join(schedule(d, 0, 60), unless(d.GetCrashes() == 2 && d.GetNextStartAt().IsValid(), "it is %v", d))
		}},
		{"C8", "They outlast a restart of the agent.", func(s *stage) error {
			t := s.trouble()
			kept := t.after.GetCrashes() == t.before.GetCrashes() && t.after.GetLives() == t.before.GetLives() &&
				t.after.GetNextStartAt().AsTime().Equal(t.before.GetNextStartAt().AsTime())
			return errors.Join(t.err, schedule(t.after, 0, 60), unless(kept, "it is %v, it was %v", t.after, t.before))
		}},
	}
}

// again is a dyno that crashes, starts at once, crashes, and is stopped while it waits for an hour.
func (s *stage) again() life {
	return scene(s, "again", func() life {
		return s.play(s.order("worker.1", "./web crash 100ms 3", backoff(0, hour)), s.lives(2), s.said("crash with status 3"), s.stop(""))
	})
}

// schedule checks the delays of a policy, in minutes.
func schedule(d *dynodv1.Dyno, want ...int) error {
	var got []int
	for _, delay := range d.GetRestartPolicy().GetDelays() {
		got = append(got, int(delay.AsDuration().Minutes()))
	}
	return unless(slices.Equal(got, want), "delays in minutes are %v, want %v", got, want)
}

func rigCount(l life, text string) (n int) {
	for _, line := range l.lines {
		if line.Text == text {
			n++
		}
	}
	return n
}

// spaced checks that all lives but the second began so long after the one before, whose end was later than the line of its
// beginning, and earlier than that of its end.
func (l life) spaced(least time.Duration) error {
	var began time.Time
	for n, line := range l.lines {
		switch {
		case strings.HasPrefix(line.Text, "Starting process"):
			began = line.Time
		case line.Text == fromCrashed:
			waited := line.Time.Sub(began)
			if first := rigCount(life{lines: l.lines[:n]}, line.Text) == 0; !first && waited < least {
				return fmt.Errorf("it waited %s", waited)
			}
		}
	}
	return nil
}
