package contract_test

import (
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/rig"
)

func oneOffs() []sentence {
	return []sentence{
		{"O1", "A one-off dyno without a client runs by itself, and all that it writes is in the log.", func(s *stage) error { return s.seven().stdout("first", "last") }},
		{"O2", "Its exit code is told to who ordered it.", func(s *stage) error { return s.seven().exit(complete, 7, "") }},
		{"O3", "It is stopped by SIGTERM when it has lived for the time that its order gives.", func(s *stage) error {
			l := s.run("echo ready; exec sleep 600", func(o *dynodv1.StartDynoRequest) { o.Spec.TimeToLive = durationpb.New(3 * time.Second) })
			age := l.dyno.GetExit().GetAt().AsTime().Sub(l.dyno.GetAcceptedAt().AsTime())
			return errors.Join(l.err, l.platform(starting("echo ready; exec sleep 600"), toUp, "Time to live is over", stopping, exited(143), upDown),
				unless(age > 2900*time.Millisecond && age < 8*time.Second, "it lived for %s", age))
		}},
		{"O4", "A dyno of the type `release` is a one-off dyno, without being ordered as one.", func(s *stage) error {
			return s.play(s.order("release.1", "exit 3")).exit(complete, 3, "")
		}},
		{"O5", "A one-off dyno is not restarted, whatever its crash policy says.", func(s *stage) error {
			l := s.play(s.order("run.1", "exit 1", backoff(0), rig.OneOff))
			return errors.Join(l.exit(complete, 1, ""), unless(l.dyno.GetLives() == 1, "it lived %d times", l.dyno.GetLives()))
		}},
		{"O6", "A signal may be sent to every process of a running dyno, of whatever type.", func(s *stage) error {
			l := s.play(s.order("worker.1", "(trap 'echo child; exit' USR1; while :; do sleep 0.1; done) & trap 'echo parent' USR1; sleep 0.5; echo ready; wait; wait; sleep 0.5"),
				s.said("ready"), func(id string) error {
					_, err := s.API().SignalDyno(s.ctx, &dynodv1.SignalDynoRequest{DynoId: id, Signal: 10})
					return err
				})
			said := rig.Texts(l.lines, "stdout")
			return errors.Join(l.err, unless(len(said) == 3 && rigCount(l, "parent") == 1 && rigCount(l, "child") == 1, "it wrote %q", said))
		}},
		{"O7", "A further command may run in a dyno that is up, in its environment, its directory and its limits; its exit code comes back, and the dyno goes on.", (*stage).further},
		{"O8", "Such a command may have a terminal of its own.", func(s *stage) error {
			return s.inWorker(func(id string) error {
				t, err := s.exec(id, true, "sh", "-c", "stty size; exit 3")
				if err != nil {
					return err
				}
				return errors.Join(t.wrote("24 80\r\n"), t.ended(3))
			})
		}},
	}
}

// inWorker does something with a worker that is up, and checks that it has lived through it.
func (s *stage) inWorker(do step) error {
	l := s.play(s.order("worker.1", "./web worker", rig.Env("COLOUR", "green")), s.said("seq=1"), do, s.stop(""))
	return errors.Join(l.exit(down, 0, ""), l.platform(starting("./web worker"), toUp, stopping, exited(0), upDown))
}

func (s *stage) further() error {
	return s.inWorker(func(id string) error {
		t, err := s.exec(id, false, "sh", "-c", "echo $DYNO $COLOUR $(pwd) $(hostname) $(id -un) $(ulimit -u); cat; exit 7")
		if err != nil {
			return err
		}
		err = errors.Join(t.write("from the client\n"), t.end())
		return errors.Join(err, t.wrote("worker.1 green /app "+id+" dyno 256\nfrom the client\n"), t.ended(7))
	})
}
