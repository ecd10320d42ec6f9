package contract_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func files() []sentence {
	return []sentence{
		{"F1", "`/app`, `/tmp` and `/var/tmp` are writable.", func(s *stage) error {
			return s.inside().holds("/app", "writable", "/tmp", "writable", "/var/tmp", "writable")
		}},
		{"F2", "Everything else of a slug dyno is read-only.", func(s *stage) error {
			return s.inside().holds("/", "read-only", "/etc", "read-only", "/usr/bin", "read-only", "/home", "read-only")
		}},
		{"F3", "What one dyno has written no other dyno of the same release sees.", func(s *stage) error {
			const look = "cat /app/note /tmp/note /var/tmp/note 2>/dev/null; echo mine | tee /app/note /tmp/note >/var/tmp/note; echo done"
			first := s.run(look)
			return errors.Join(first.stdout("done"), s.run(look).stdout("done"))
		}},
		{"F4", "A dyno that is started again after a crash finds its files as they were at first.", func(s *stage) error {
			l := s.play(s.order("worker.1", "ls /app/note /tmp/note 2>/dev/null; touch /app/note /tmp/note; echo life; exit 1", backoff(0, hour)), s.lives(2), s.stop(""))
			return l.stdout("life", "life")
		}},
		{"F5", "Nothing of its files is left on the host when a dyno has ended.", func(s *stage) error {
			l := s.run("echo a secret of the app >/app/note; dd if=/dev/zero of=/tmp/big bs=1M count=4 2>/dev/null; echo done")
			return errors.Join(l.stdout("done"), s.gone(l.dyno.GetId()))
		}},
		{"F6", "What a dyno writes is under a disk quota where the host's file system has project quotas; the host reports whether it has.", (*stage).diskQuota},
		{"F7", "`/dev/shm` has 64 MiB.", func(s *stage) error { return s.inside().holds("shm", "65536") }},
		{"F8", "`/etc/hosts` names localhost and the dyno itself, by the address of its interface.", func(s *stage) error {
			l := s.inside()
			return errors.Join(l.holds("localhost", "127.0.0.1 localhost"), l.holds("hosts", l.dyno.GetAddress()+" "+l.dyno.GetId()))
		}},
		{"F9", "`/etc/resolv.conf` names the name servers of the host, none of them on its loopback.", func(s *stage) error {
			l := s.inside()
			resolv := l.values()["resolv"]
			return errors.Join(l.err, unless(!contains(resolv, "nameserver 127.") && contains(resolv, hostServer()), "it is %q", resolv))
		}},
		{"F10", "`/etc/passwd` has a line for the dyno's user, with `/app` for its home.", func(s *stage) error { return s.inside().holds("passwd", "dyno:x:1000:1000:dyno:/app:/bin/sh") }},
	}
}

const hour = 3600

// backoff is the crash policy with these delays, in seconds.
func backoff(delays ...int) func(*dynodv1.StartDynoRequest) {
	return func(o *dynodv1.StartDynoRequest) {
		o.Spec.RestartPolicy = &dynodv1.RestartPolicy{Kind: dynodv1.RestartPolicy_KIND_BACKOFF}
		for _, d := range delays {
			o.Spec.RestartPolicy.Delays = append(o.Spec.RestartPolicy.Delays, &durationpb.Duration{Seconds: int64(d)})
		}
	}
}

// lives is a step that waits until the dyno has crashed that often and is not starting.
func (s *stage) lives(n uint32) step {
	return func(id string) error {
		_, err := s.await(id, "a crash", func(d *dynodv1.Dyno) bool { return d.GetLives() >= n && d.GetPhase() == crashed })
		return err
	}
}

// gone waits until no directory of the agent is named after the dyno but that of its log, and its record.
func (s *stage) gone(id string) error {
	return waitFor(s.ctx, "its files to be gone", func() (bool, error) {
		var left []string
		for _, root := range []string{filepath.Join(s.Lab.Dir(), "state"), filepath.Join(s.Lab.Run(), "d")} {
			err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() && d.Name() == id && !contains(path, "/spool/") {
					left = append(left, path)
				}
				return nil
			})
			if err != nil {
				return false, err
			}
		}
		return len(left) == 0, nil
	})
}

func (s *stage) diskQuota() error {
	out, err := s.API().GetHost(s.ctx, &dynodv1.GetHostRequest{})
	if err != nil {
		return err
	}
	mode := out.GetHost().GetDiskQuota()
	l := s.run("dd if=/dev/zero of=/tmp/big bs=1M count=64 2>/dev/null || echo refused; echo done", limits(&dynodv1.Limits{DiskBytes: 16 * mib}))
	switch mode {
	case "none":
		return l.stdout("done")
	case "project":
		return l.stdout("refused", "done")
	}
	return errors.Join(l.err, unless(false, "the host reports %q", mode))
}

var server = regexp.MustCompile(`(?m)^nameserver\s+(\S+)`)

// hostServer is the line of the first name server of this machine that is not on its loopback; empty if there is none.
func hostServer() string {
	data, _ := os.ReadFile("/etc/resolv.conf")
	for _, found := range server.FindAllStringSubmatch(string(data), -1) {
		if !strings.HasPrefix(found[1], "127.") && found[1] != "::1" {
			return "nameserver " + found[1]
		}
	}
	return ""
}
