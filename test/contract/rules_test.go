package contract_test

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/rig"
)

func rules() []sentence {
	return []sentence{
		{"B1", "The boot clock starts at the line `Starting process` and runs 60 seconds.", func(s *stage) error { return s.deaf().between("Starting process", "Error R10", time.Minute) }},
		{"B2", "An order may give another boot time.", func(s *stage) error { return s.trapped().between("Starting process", "Error R10", 3*time.Second) }},
		{"B3", "Whatever listens on `$PORT`, on any address, ends the boot: no request is made.", func(s *stage) error {
			l := s.play(s.order("web.1", "exec httpd -f -vv -p 127.0.0.1:$PORT -h /tmp"), s.until(up), wait(time.Second), s.stop(""))
			return errors.Join(l.platform(starting("exec httpd -f -vv -p 127.0.0.1:5000 -h /tmp"), toUp, stopping, exited(143), upDown), l.same("stderr", nil))
		}},
		{"B4", "A listener on another port does not.", func(s *stage) error {
			return s.play(s.order("web.1", "nc -l -p 6000", bootTime(2))).exit(crashed, 137, "R10")
		}},
		{"B5", "Only `web` dynos have a boot clock; every other type is up when its command has started.", func(s *stage) error {
			l := s.play(s.order("clock.1", "exec sleep 600", bootTime(1)), s.until(up), wait(2*time.Second), s.stop(""))
			return l.platform(starting("exec sleep 600"), toUp, stopping, exited(143), upDown)
		}},
		{"B6", "R10 kills at once: the app gets no SIGTERM first.", func(s *stage) error {
			l := s.trapped()
			return errors.Join(l.stdout("waiting"), l.between("Error R10", "Process exited", 0))
		}},
		{"B7", "SIGTERM reaches every process of the dyno, each once, not only the first.", func(s *stage) error {
			l := s.quickly()
			return errors.Join(l.err, same(rig.Texts(l.lines, "stdout"), "ready", "child 1", "parent 1"))
		}},
		{"B8", "The time to exit is 30 seconds from the first SIGTERM.", func(s *stage) error { return s.stubborn().between(stopping, "Error R12", 30*time.Second) }},
		{"B9", "An order may give another.", func(s *stage) error { return s.quickly().between(stopping, "Error R12", 2*time.Second) }},
		{"B10", "It goes on counting while the agent is restarted.", func(s *stage) error { return s.trouble().stopping.between(stopping, "Error R12", 6*time.Second) }},
		{"B11", "The agent's restart is nothing that a dyno notices: its processes and its phase stay.", func(s *stage) error { return s.trouble().unmoved }},
		{"B12", "Any exit of a formation dyno that was not ordered is a crash, status 0 too.", func(s *stage) error { return s.zero().exit(crashed, 0, "") }},
		{"B13", "A one-off dyno ends `complete`, with whatever status.", func(s *stage) error {
			return errors.Join(s.seven().exit(complete, 7, ""), s.run("kill -9 $$").exit(complete, 137, ""))
		}},
		{"B14", "Two dynos of one name may live at once.", func(s *stage) error {
			old, young := s.order("web.1", "./web web"), s.order("web.1", "./web web")
			var both error
			l := s.play(old, s.until(up), func(string) error {
				id, err := s.start(young)
				both = errors.Join(err, s.until(up)(id), s.until(up)(old.GetHeader().GetDynoId()), s.stop("")(id))
				return both
			}, s.stop(""))
			return errors.Join(l.platform(starting("./web web"), toUp, stopping, exited(0), upDown), s.end(young.GetHeader().GetDynoId()).exit(down, 0, ""))
		}},
		{"B15", "A dyno that is told to end is shown as up until it is gone.", func(s *stage) error {
			l := s.stubborn()
			return errors.Join(l.platform(starting("./web ignore-term"), toUp, stopping, r12(30), remaining, exited(137), upDown), s.shownUp())
		}},
	}
}

// deaf is a web dyno that never listens.
func (s *stage) deaf() life {
	return scene(s, "deaf", func() life { return s.play(s.order("web.1", "./web worker")) })
}

// trap tells of every SIGTERM, and lives on.
const trap = "trap 'echo got SIGTERM' TERM; echo waiting; while :; do sleep 1; done"

// trapped is a web dyno that does not listen within 3 s.
func (s *stage) trapped() life {
	return scene(s, "trapped", func() life { return s.play(s.order("web.1", trap, bootTime(3))) })
}

// stubborn outlives SIGTERM.
func (s *stage) stubborn() life {
	return scene(s, "stubborn", func() life { return s.stopped("ignoring SIGTERM", "worker.1", "./web ignore-term") })
}

// parent ends with SIGTERM, its child does not; both tell of each.
const parent = `(n=0; trap 'n=$((n+1)); sleep 1 & wait $!; echo child $n' TERM; while :; do sleep 0.2; done) & n=0; trap 'n=$((n+1)); sleep 1.5 & wait $!; echo parent $n; exit 0' TERM; sleep 0.5; echo ready; wait`

// quickly has 2 s to end, which one of its two processes does.
func (s *stage) quickly() life {
	return scene(s, "quickly", func() life {
		return s.stopped("ready", "worker.1", parent, func(o *dynodv1.StartDynoRequest) { o.Spec.Grace = durationpb.New(2 * time.Second) })
	})
}

func bootTime(seconds int64) rig.Change {
	return func(o *dynodv1.StartDynoRequest) { o.Spec.BootTimeout = &durationpb.Duration{Seconds: seconds} }
}

// wait is a step for what must not happen in that time.
func wait(d time.Duration) step {
	return func(string) error { time.Sleep(d); return nil }
}

// shownUp looks at a dyno while it ends.
func (s *stage) shownUp() error {
	var shown string
	l := s.play(s.order("worker.1", "trap '' TERM; echo ready; sleep 600", func(o *dynodv1.StartDynoRequest) { o.Spec.Grace = durationpb.New(2 * time.Second) }),
		s.said("ready"), s.stop(""), s.said(stopping), func(id string) (err error) {
			shown, err = s.Ctl(s.ctx, "logs", id)
			return err
		})
	return errors.Join(l.err, unless(!contains(shown, "stopping"), "the log says %q", shown))
}

// killShim ends the process of the runtime that looks after a dyno.
func (s *stage) killShim(id string) error {
	out, err := s.API().GetDyno(s.ctx, &dynodv1.GetDynoRequest{DynoId: id})
	if err != nil {
		return err
	}
	text, err := statusOf(out.GetDyno().GetPid(), "PPid")
	if err != nil {
		return err
	}
	shim, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", shim))
	if err != nil || !contains(string(cmdline), "containerd-shim") || !contains(string(cmdline), s.Lab.Namespace()) {
		return errors.Join(err, fmt.Errorf("process %d is no shim of %s: %q", shim, id, cmdline))
	}
	return syscall.Kill(shim, syscall.SIGKILL)
}

func same(got []string, want ...string) error {
	return unless(strings.Join(got, "\n") == strings.Join(want, "\n"), "got %q, want %q", got, want)
}
