package contract_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/rig"
)

const (
	up       = dynodv1.Phase_PHASE_UP
	down     = dynodv1.Phase_PHASE_DOWN
	crashed  = dynodv1.Phase_PHASE_CRASHED
	complete = dynodv1.Phase_PHASE_COMPLETE
)

// life is what is known of a dyno that has ended. Its checks fail with err if there is one.
type life struct {
	dyno  *dynodv1.Dyno
	lines []rig.Line
	seen  seen   // of a life that was held
	heard string // what one that was shunned wrote down
	err   error
}

// step is one thing to do with a dyno, or to wait for.
type step func(id string) error

// play starts a dyno, takes the steps, and follows it to its end.
func (s *stage) play(o *dynodv1.StartDynoRequest, steps ...step) life {
	id, err := s.start(o)
	for _, next := range steps {
		if err == nil {
			err = next(id)
		}
	}
	if err != nil {
		lines, _ := s.Received(id)
		return life{err: fmt.Errorf("%w; its last lines are %q", err, texts(lines[max(0, len(lines)-10):]))}
	}
	return s.end(id)
}

// run is the life of a one-off dyno with that command.
func (s *stage) run(command string, change ...rig.Change) life {
	return s.play(s.order("run.1", command, append(change, rig.OneOff)...))
}

// stopped is the life of a dyno that is stopped when it has said that.
func (s *stage) stopped(ready, name, command string, change ...rig.Change) life {
	return s.play(s.order(name, command, change...), s.said(ready), s.stop(""))
}

// end waits for the end of a dyno and for its last line.
func (s *stage) end(id string) (l life) {
	l.dyno, l.err = s.await(id, "its end", over)
	if l.err != nil {
		return l
	}
	if l.err = s.said(s.board.last(id))(id); l.err == nil {
		l.lines, l.err = s.Received(id)
	}
	return l
}

func over(d *dynodv1.Dyno) bool {
	switch d.GetPhase() {
	case down, complete:
		return true
	case crashed:
		return d.GetNextStartAt() == nil
	}
	return false
}

func texts(lines []rig.Line) (all []string) {
	for _, l := range lines {
		all = append(all, l.Text)
	}
	return all
}

// platform checks all platform lines, in order.
func (l life) platform(want ...string) error { return l.same("platform", want) }

// stdout checks all that the app wrote there.
func (l life) stdout(want ...string) error { return l.same("stdout", want) }

func (l life) same(stream string, want []string) error {
	if l.err != nil {
		return l.err
	}
	if got := rig.Texts(l.lines, stream); !slices.Equal(got, want) {
		return fmt.Errorf("%s is %s, want %s", stream, brief(got), brief(want))
	}
	return nil
}

// brief is the beginning of each text, and how long it is.
func brief(texts []string) (all []string) {
	for _, text := range texts {
		all = append(all, fmt.Sprintf("%.60q (%d)", text, len(text)))
	}
	return all
}

// exit checks how the newest life ended.
func (l life) exit(phase dynodv1.Phase, code int32, why string) error {
	if l.err != nil {
		return l.err
	}
	d := l.dyno
	if d.GetPhase() != phase || d.GetExit().GetCode() != code || d.GetExit().GetErrorCode() != why {
		return fmt.Errorf("it ended %v with %v, want %v, code %d %q", d.GetPhase(), d.GetExit(), phase, code, why)
	}
	return nil
}

// at is when the line came that is or begins with text: the first of them.
func (l life) at(text string) (time.Time, error) {
	if l.err != nil {
		return time.Time{}, l.err
	}
	for _, line := range l.lines {
		if strings.HasPrefix(line.Text, text) {
			return line.Time, nil
		}
	}
	return time.Time{}, fmt.Errorf("no line %q in %q", text, texts(l.lines))
}

// between checks the time from one line to another. More than the least is allowed what a busy machine may need.
func (l life) between(from, to string, least time.Duration) error {
	a, err := l.at(from)
	b, err2 := l.at(to)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	const slack, early = 3 * time.Second, 100 * time.Millisecond
	if took := b.Sub(a); took < least-early || took > least+slack {
		return fmt.Errorf("%s from %q to %q, want %s", took, from, to, least)
	}
	return nil
}

// values reads lines "name=value" of standard output.
func (l life) values() map[string]string {
	values := map[string]string{}
	for _, line := range rig.Texts(l.lines, "stdout") {
		name, value, _ := strings.Cut(line, "=")
		values[name] = value
	}
	return values
}

// holds checks lines "name=value" of standard output; want is names and values in turn.
func (l life) holds(want ...string) error {
	if l.err != nil {
		return l.err
	}
	got := l.values()
	for i := 0; i < len(want); i += 2 {
		value, said := got[want[i]]
		if !said || value != want[i+1] {
			return fmt.Errorf("%s is %q, want %q", want[i], value, want[i+1])
		}
	}
	return nil
}
