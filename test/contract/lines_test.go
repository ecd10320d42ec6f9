package contract_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/rig"
)

// Lines that many lives have.
const (
	toUp       = "State changed from starting to up"
	stopping   = "Stopping all processes with SIGTERM"
	killing    = "Stopping process with SIGKILL"
	remaining  = "Stopping remaining processes with SIGKILL"
	upDown     = "State changed from up to down"
	upCrashed  = "State changed from up to crashed"
	upComplete = "State changed from up to complete"
)

func starting(command string) string {
	return fmt.Sprintf("Starting process with command `%s`", command)
}

func exited(status int) string { return fmt.Sprintf("Process exited with status %d", status) }

func lines() []sentence {
	return []sentence{
		{"L1", "A web dyno's life until it is stopped: ``Starting process with command `<command>` ``, `State changed from starting to up`, `Stopping all processes with SIGTERM`, `Process exited with status <n>`, `State changed from up to down`.", func(s *stage) error {
			return s.web().platform(starting("./web web"), toUp, stopping, exited(0), upDown)
		}},
		{"L2", "A worker's is the same.", func(s *stage) error {
			return s.worker().platform(starting("./web worker"), toUp, stopping, exited(0), upDown)
		}},
		{"L3", "A one-off dyno's: ``Starting process with command `<command>` ``, `State changed from starting to up`, `Process exited with status <n>`, `State changed from up to complete`.", func(s *stage) error {
			return s.seven().platform(starting("echo first; echo last; exit 7"), toUp, exited(7), upComplete)
		}},
		{"L4", "A crash: `Process exited with status <n>`, `State changed from up to crashed`.", func(s *stage) error {
			return s.zero().platform(starting("./web crash 500ms 0"), toUp, exited(0), upCrashed)
		}},
		{"L5", "The command is written with `$PORT` and `${PORT}` replaced by the port, and with nothing else of it replaced.", func(s *stage) error {
			return s.run("echo $PORT ${PORT} $HOME").platform(starting("echo 5000 5000 $HOME"), toUp, exited(0), upComplete)
		}},
		{"L6", "The status is the command's code, or 128 and the signal that ended it: 143 after SIGTERM.", func(s *stage) error {
			l := s.stopped("ready", "worker.1", "echo ready; exec sleep 600")
			return errors.Join(l.platform(starting("echo ready; exec sleep 600"), toUp, stopping, exited(143), upDown), l.exit(down, 143, ""))
		}},
		{"L7", "A command that cannot be found ends with status 127.", func(s *stage) error {
			return s.run("no-such-command").platform(starting("no-such-command"), toUp, exited(127), upComplete)
		}},
		{"L8", "A restart writes `Restarting` before the stop's own lines, a daily one `Cycling`, a dyno put to sleep `Idling`: the control plane's words, with its order.", func(s *stage) error {
			var errs []error
			for _, word := range []string{"Restarting", "Cycling", "Idling"} {
				l := s.play(s.order("worker.1", "./web worker"), s.said("seq=1"), s.stop(word))
				errs = append(errs, l.platform(starting("./web worker"), toUp, word, stopping, exited(0), upDown))
			}
			return errors.Join(errs...)
		}},
		{"L9", "A dyno that wakes begins with `Unidling`, likewise from the order.", func(s *stage) error {
			o := s.order("run.1", "true", rig.OneOff)
			o.Reason = "Unidling"
			return s.play(o).platform("Unidling", starting("true"), toUp, exited(0), upComplete)
		}},
		{"L10", "A dyno whose host is emptied writes `Relocating dyno to a new server` before its stop's lines.", func(s *stage) error {
			return s.trouble().drained.platform(starting("./web worker"), toUp, "Relocating dyno to a new server", stopping, exited(0), upDown)
		}},
		{"L11", "`Starting process` stands before the first line of the app, `Process exited` after its last.", func(s *stage) error {
			l := s.seven()
			order := []string{starting("echo first; echo last; exit 7"), "first", "last", exited(7), upComplete}
			at := make([]int64, len(order))
			for i, text := range order {
				when, err := l.at(text)
				if err != nil {
					return err
				}
				at[i] = when.UnixNano()
			}
			return unless(slices.IsSorted(at), "times of %q are %d", order, at)
		}},
		{"L12", "The times of platform lines never go backwards.", func(s *stage) error {
			return errors.Join(monotonic(s.web()), monotonic(s.again()), monotonic(s.seven()), monotonic(s.stubborn()))
		}},
		{"L13", "A platform line bears the source `heroku`, an app's line the source `app`, both with the dyno's name.", func(s *stage) error {
			l := s.seven()
			if l.err != nil {
				return l.err
			}
			shown, err := s.Ctl(s.ctx, "logs", l.dyno.GetId())
			return errors.Join(err, unless(contains(shown, " heroku[run.1]: "+exited(7)+"\n") && contains(shown, " app[run.1]: first\n"), "dynoctl logs shows %q", shown))
		}},
	}
}

func (s *stage) web() life {
	return scene(s, "web", func() life { return s.play(s.order("web.1", "./web web"), s.until(up), s.stop("")) })
}

func (s *stage) worker() life {
	return scene(s, "worker", func() life { return s.stopped("seq=1", "worker.1", "./web worker") })
}

func (s *stage) seven() life {
	return scene(s, "seven", func() life { return s.run("echo first; echo last; exit 7") })
}

func (s *stage) zero() life {
	return scene(s, "zero", func() life { return s.play(s.order("worker.1", "./web crash 500ms 0")) })
}

func monotonic(l life) error {
	if l.err != nil {
		return l.err
	}
	var last rig.Line
	for _, line := range l.lines {
		if line.Stream != "platform" {
			continue
		}
		if line.Time.Before(last.Time) {
			return fmt.Errorf("%q at %s comes after %q at %s", line.Text, line.Time, last.Text, last.Time)
		}
		last = line
	}
	return nil
}

// failure is a life of its own for an error code.
func failures() []sentence {
	return []sentence{
		{"E1", "R10: `Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 60 seconds of launch`, `Stopping process with SIGKILL`, `Process exited with status 137`, `State changed from starting to crashed`.", func(s *stage) error {
			l := s.deaf()
			return errors.Join(l.exit(crashed, 137, "R10"), l.platform(starting("./web worker"), r10(60), killing, exited(137), "State changed from starting to crashed"))
		}},
		{"E2", "R10 names the seconds that the order gave.", func(s *stage) error {
			l := s.trapped()
			return errors.Join(l.exit(crashed, 137, "R10"), l.platform(starting(trap), r10(3), killing, exited(137), "State changed from starting to crashed"))
		}},
		{"E3", "R12: 30 seconds after `Stopping all processes with SIGTERM`, if anything lives, `Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds of SIGTERM`, `Stopping remaining processes with SIGKILL`, `Process exited with status 137`.", func(s *stage) error {
			l := s.stubborn()
			return errors.Join(l.exit(down, 137, "R12"), l.platform(starting("./web ignore-term"), toUp, stopping, r12(30), remaining, exited(137), upDown))
		}},
		{"E4", "R12 names the seconds that the order gave.", func(s *stage) error {
			l := s.quickly()
			return errors.Join(l.exit(down, 137, "R12"), l.platform(starting(parent), toUp, stopping, r12(2), remaining, exited(137), upDown))
		}},
		{"E5", "R13: 30 seconds after `Awaiting client` without one, `Error R13 (Attach error) -> Failed to attach to process`; the command never runs.", (*stage).unattended},
		{"E6", "R16: 15 seconds after `Client connection closed. Sending SIGHUP to all processes`, if anything lives, `Error R16 (Detached) -> An attached process is not responding to SIGHUP after its external connection was closed.`; the dyno keeps running.", (*stage).detached},
		{"E7", "R17: `Error R17 (Checksum error) -> Checksum does match expected value. Expected: SHA256:<hex> Actual: SHA256:<hex>`, `State changed from starting to crashed`; nothing is executed.", func(s *stage) error {
			wrong := strings.Repeat("0", 64)
			l := s.play(s.order("worker.1", "./web worker", func(o *dynodv1.StartDynoRequest) { o.Spec.Artifact.GetSlug().Sha256 = wrong }))
			line := fmt.Sprintf("Error R17 (Checksum error) -> Checksum does match expected value. Expected: SHA256:%s Actual: SHA256:%s", wrong, s.slug.sum)
			return errors.Join(l.exit(crashed, -1, "R17"), l.platform(line, "State changed from starting to crashed"), l.stdout(), unless(l.dyno.GetLives() == 0, "the command ran"))
		}},
		{"E8", "R99: `Error R99 (Platform error) -> <reason>` when the host or the runtime loses a dyno, and the dyno is crashed.", func(s *stage) error {
			s = s.another("shim", "") // whose end is that of other dynos too
			l := s.play(s.order("worker.1", "./web worker"), s.said("seq=1"), s.killShim)
			return errors.Join(l.exit(crashed, -1, "R99"), l.platform(starting("./web worker"), toUp, "Error R99 (Platform error) -> the runtime lost the dyno", upCrashed))
		}},
	}
}

func r10(seconds int) string {
	return fmt.Sprintf("Error R10 (Boot timeout) -> Web process failed to bind to $PORT within %d seconds of launch", seconds)
}

func r12(seconds int) string {
	return fmt.Sprintf("Error R12 (Exit timeout) -> At least one process failed to exit within %d seconds of SIGTERM", seconds)
}
