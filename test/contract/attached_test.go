package contract_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

func attached() []sentence {
	return []sentence{
		{"T1", "An attached dyno's life: `Awaiting client`, and when it has come ``Starting process with command `<command>` ``, `State changed from starting to up`, `Process exited with status <n>`, `State changed from up to complete`.", func(s *stage) error {
			return s.terminal().platform("Awaiting client", starting(onTerminal), toUp, exited(7), upComplete)
		}},
		{"T2", "Its command has a terminal of the client's size.", func(s *stage) error { return s.terminal().err }},
		{"T3", "`stty size` follows when the client's window changes.", func(s *stage) error { return s.terminal().err }},
		{"T4", "What it writes goes to the client, and not into the log.", func(s *stage) error { return s.terminal().stdout() }},
		{"T5", "Its exit code reaches the client: 7 comes back as 7.", func(s *stage) error { return s.terminal().exit(complete, 7, "") }},
		{"T6", "The client's interrupt key is SIGINT for the command.", func(s *stage) error {
			return s.client("trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.1; done", true, func(t *session) error {
				return errors.Join(t.wrote("ready"), t.write("\x03"), t.wrote("interrupted"), t.ended(5))
			}).exit(complete, 5, "")
		}},
		{"T7", "Without a terminal the command reads what the client sends, and its end of file.", func(s *stage) error {
			return s.client("tr a-z A-Z; echo end", false, func(t *session) error {
				return errors.Join(t.write("some words\n"), t.end(), t.wrote("SOME WORDS\nend\n"), t.ended(0))
			}).exit(complete, 0, "")
		}},
		{"T8", "The client may send a signal.", func(s *stage) error {
			return s.client("trap 'echo user; exit 4' USR1; echo ready; while :; do sleep 0.1; done", false, func(t *session) error {
				return errors.Join(t.wrote("ready"), t.signal(10), t.wrote("user"), t.ended(4))
			}).exit(complete, 4, "")
		}},
		{"T9", "The client's loss: `Client connection closed. Sending SIGHUP to all processes`; a process that heeds it ends the dyno with status 129.", func(s *stage) error {
			l := s.client("echo ready; exec sleep 600", true, func(t *session) error {
				err := t.wrote("ready")
				t.leave()
				return err
			})
			return errors.Join(l.exit(complete, 129, ""), l.platform("Awaiting client", starting("echo ready; exec sleep 600"), toUp, hangUp, exited(129), upComplete))
		}},
		{"T10", "SIGHUP is sent at once, and again after 5 and 10 seconds while anything lives.", func(s *stage) error {
			return errors.Join(s.shunned().stdoutFile("hup 1", "hup 2", "hup 3"), s.shunned().between(hangUp, r16, 15e9))
		}},
		{"T11", "A client may wait elsewhere: the agent dials `rendezvous://<host>:<port>/<secret>` by TLS, writes the secret and a line end, and then all is the command's.", (*stage).rendezvous},
	}
}

const (
	hangUp     = "Client connection closed. Sending SIGHUP to all processes"
	r16        = "Error R16 (Detached) -> An attached process is not responding to SIGHUP after its external connection was closed."
	onTerminal = "trap 'stty size' WINCH; stty size; while ! read -t 0.1 word; do :; done; exit 7"
)

// wantsClient asks for a client, with a terminal or without.
func wantsClient(terminal bool) rig.Change {
	return func(o *dynodv1.StartDynoRequest) {
		o.Spec.OneOff, o.Spec.Attach = true, &dynodv1.AttachRequest{Terminal: terminal}
		if terminal {
			o.Spec.Attach.Size = window
		}
	}
}

// client is the life of an attached dyno with that command and client.
func (s *stage) client(command string, terminal bool, do func(*session) error, more ...step) life {
	return s.play(s.order("run.1", command, wantsClient(terminal)), append([]step{func(id string) error {
		t, err := s.attach(id)
		if err != nil {
			return err
		}
		defer t.leave()
		return do(t)
	}}, more...)...)
}

// terminal is a dyno whose client changes the size of its window.
func (s *stage) terminal() life {
	return scene(s, "terminal", func() life {
		return s.client(onTerminal, true, func(t *session) error {
			return errors.Join(t.wrote("24 80\r\n"), t.resize(40, 132), t.wrote("40 132\r\n"), t.write("word\n"), t.ended(7))
		})
	})
}

// shunned is a dyno that its client has left, and that does not heed SIGHUP. It writes down what it got.
func (s *stage) shunned() life {
	return scene(s, "shunned", func() life {
		var heard string
		l := s.client(shuns, false, func(t *session) error {
			err := t.wrote("ready")
			t.leave()
			return err
		}, s.said(r16), func(id string) error {
			t, err := s.exec(id, false, "cat", "/tmp/heard")
			if err != nil {
				return err
			}
			err = t.ended(0)
			heard = t.written()
			return err
		}, s.until(up), s.stop(""))
		l.heard = heard
		return l
	})
}

// bash would tell of each sleep that SIGHUP ends, to a client that is not there any more.
const shuns = "exec 2>/dev/null; n=0; trap 'n=$((n+1)); echo hup $n >>/tmp/heard' HUP; echo ready; while :; do sleep 0.1; done"

func (l life) stdoutFile(want ...string) error {
	text := ""
	for _, w := range want {
		text += w + "\n"
	}
	return errors.Join(l.err, unless(l.heard == text, "it heard %q", l.heard))
}

// unattended is R13.
func (s *stage) unattended() error {
	l := s.play(s.order("run.1", "echo ran", wantsClient(true)))
	const r13 = "Error R13 (Attach error) -> Failed to attach to process"
	return errors.Join(l.platform("Awaiting client", r13, killing, exited(137), "State changed from starting to complete"),
		l.exit(complete, 137, "R13"), l.between("Awaiting client", r13, 30e9), l.stdout(), unless(l.dyno.GetLives() == 0, "it ran"))
}

// detached is R16.
func (s *stage) detached() error {
	l := s.shunned()
	return errors.Join(l.platform("Awaiting client", starting(shuns), toUp, hangUp, r16, stopping, exited(143), upDown), l.exit(down, 143, ""))
}

// rendezvous is a client that waits for the agent in the outside.
func (s *stage) rendezvous() error {
	lis, err := s.outside.listen(lab.OutsideAddress + ":5000")
	if err != nil {
		return err
	}
	defer lis.Close() // if nobody came: meet waits for it
	talk := make(chan error, 1)
	go func() { talk <- s.meet(lis) }()
	l := s.play(s.order("run.1", "read word; echo got $word; exit 6", func(o *dynodv1.StartDynoRequest) {
		o.Spec.OneOff, o.Spec.Attach = true, &dynodv1.AttachRequest{RendezvousUrl: "rendezvous://" + lab.OutsideAddress + ":5000/a-secret"}
	}))
	return errors.Join(l.exit(complete, 6, ""), lis.Close(), <-talk)
}

// meet takes the agent's connection and talks to the command.
func (s *stage) meet(lis net.Listener) error {
	plain, err := lis.Accept()
	if err != nil {
		return err
	}
	conn := tls.Server(plain, &tls.Config{Certificates: []tls.Certificate{s.outside.cert}, MinVersion: tls.VersionTLS12})
	defer conn.Close()
	in := bufio.NewReader(conn)
	if first, err := in.ReadString('\n'); err != nil || first != "a-secret\r\n" {
		return errors.Join(err, fmt.Errorf("the agent wrote %q", first))
	}
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		return err
	}
	rest, err := io.ReadAll(in)
	return errors.Join(err, unless(string(rest) == "got hello\n", "the command wrote %q", rest))
}
