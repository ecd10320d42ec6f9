package contract_test

import (
	"errors"
	"strings"
	"time"

	"github.com/dynod/dynod/test/rig"
)

func logs() []sentence {
	return []sentence{
		{"G1", "What the app writes to standard output and to standard error is its log, a message for each line.", func(s *stage) error {
			l := s.chatty()
			return errors.Join(l.stdout("one", "", "two", "no newline"), l.same("stderr", []string{"bad"}))
		}},
		{"G2", "A last line without a newline is a message too.", func(s *stage) error {
			return errors.Join(s.chatty().err, unless(rigCount(s.chatty(), "no newline") == 1, "it is missing"))
		}},
		{"G3", "The app may open `/dev/stdout` and `/dev/stderr`.", func(s *stage) error {
			l := s.run("echo out >/dev/stdout; echo err >/dev/stderr")
			return errors.Join(l.stdout("out"), l.same("stderr", []string{"err"}))
		}},
		{"G4", "A line of more than 10,000 bytes is cut into messages of 10,000 bytes.", func(s *stage) error {
			l := s.run("head -c 25000 /dev/zero | tr '\\0' x; echo; echo after")
			piece := strings.Repeat("x", 10000)
			return l.stdout(piece, piece, piece[:5000], "after")
		}},
		{"G5", "A message's time is when its line was read.", func(s *stage) error {
			l := s.run("echo early; sleep 2; echo late")
			return errors.Join(l.between("early", "late", 2*time.Second), l.near())
		}},
		{"G6", "Bytes that are no text come through as they are.", func(s *stage) error { return s.run(`printf 'a\000\377b\n'`).stdout("a\x00\xffb") }},
		{"G7", "All output of a dyno that ended is delivered, however fast it wrote.", func(s *stage) error {
			l := s.run("./web burst 20000")
			if l.err != nil {
				return l.err
			}
			lines, err := s.AwaitLine(s.ctx, l.dyno.GetId(), "end seq=20000") // platform lines may overtake so many
			if err != nil {
				return err
			}
			n, err := rig.Sequence(lines)
			return errors.Join(err, unless(n == 20000, "%d lines came", n))
		}},
		{"G8", "Nothing of a log is lost when the agent is restarted.", func(s *stage) error {
			l := s.trouble().drained
			if l.err != nil {
				return l.err
			}
			_, err := rig.Sequence(l.lines)
			return err
		}},
	}
}

func (s *stage) chatty() life {
	return scene(s, "chatty", func() life { return s.run(`echo one; echo; echo two; echo bad >&2; printf 'no newline'`) })
}

// near checks that no line is dated after now, or long before the dyno ended.
func (l life) near() error {
	for _, line := range l.lines {
		if age := l.dyno.GetExit().GetAt().AsTime().Sub(line.Time); age < -time.Second || age > time.Minute {
			return unless(false, "%q is dated %s before the end", line.Text, age)
		}
	}
	return l.err
}
