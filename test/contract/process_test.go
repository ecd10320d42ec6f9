package contract_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/rig"
)

func process() []sentence {
	return []sentence{
		{"P1", "The command runs as a user that is not root: `id -un` says `dyno`.", func(s *stage) error { return s.inside().holds("user", "dyno", "uid", "1000") }},
		{"P2", "No two dynos share a user: on the host each has ids of its own, none of them root's.", func(s *stage) error {
			a, b := s.inside(), s.limited()
			return errors.Join(a.err, b.err, unless(a.seen.uid != b.seen.uid && a.seen.uid != "0" && a.seen.uid != "1000", "ids are %q and %q", a.seen.uid, b.seen.uid))
		}},
		{"P3", "Home and working directory are `/app`.", func(s *stage) error { return s.inside().holds("home", "/app", "cwd", "/app") }},
		{"P4", "The host name is the dyno's id.", func(s *stage) error {
			l := s.inside()
			return errors.Join(l.err, l.holds("hostname", l.dyno.GetId()))
		}},
		{"P5", "Process 1 reaps orphans: none stays a zombie.", func(s *stage) error {
			return s.run("for n in 1 2 3; do (sleep 0 & exec true) & wait $!; done; sleep 1; grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l").stdout("0")
		}},
		{"P6", "Process 1 takes less than 2 MiB of memory of its own.", (*stage).initMemory},
		{"P7", "A slug's command runs in a login shell, `bash`.", func(s *stage) error { return s.inside().holds("login", "yes") }},
		{"P8", "The shell sources `/app/.profile.d/*.sh` in the order of their names, then `/app/.profile`.", func(s *stage) error { return s.inside().holds("order", "ab.profile") }},
		{"P9", "The platform's environment is `DYNO`, `PORT`, `HOME`, `PWD` and `PATH`, and nothing more.", func(s *stage) error {
			l := s.inside()
			shells := []string{"ORDER", "FROM_PROFILE", "SHLVL", "_", "OLDPWD"} // set by shell and profiles
			names := slices.DeleteFunc(strings.Fields(l.values()["names"]), func(n string) bool { return slices.Contains(shells, n) })
			return errors.Join(l.err, unless(slices.Equal(names, []string{"DYNO", "HOME", "PATH", "PORT", "PWD"}), "the variables are %q", names))
		}},
		{"P10", "`DYNO` is the dyno's name, such as `run.1`.", func(s *stage) error { return s.inside().holds("dyno", "run.1") }},
		{"P11", "`PORT` is the port that the order names, 5000 if it names none.", func(s *stage) error {
			port := func(o *dynodv1.StartDynoRequest) { o.Spec.Port = 6123 }
			return errors.Join(s.inside().holds("port", "5000"), s.run("echo $PORT", port).stdout("6123"))
		}},
		{"P12", "`PATH` is `/usr/local/bin:/usr/bin:/bin`.", func(s *stage) error { return s.inside().holds("path", "/usr/local/bin:/usr/bin:/bin") }},
		{"P13", "Config vars are in the environment, whatever characters they hold.", func(s *stage) error {
			return s.run(`printf '%s' "$GREETING" | od -An -tx1 | tr -d ' \n'; echo`, rig.Env("GREETING", "a \"b\"\n$c ü")).stdout("612022622" + "20a246320c3bc")
		}},
		{"P14", "Config vars win over the platform's variables.", func(s *stage) error {
			return s.run("echo $DYNO $PATH", rig.Env("DYNO", "mine"), rig.Env("PATH", "/mine:/bin")).stdout("mine /mine:/bin")
		}},
		{"P15", "Dyno metadata is in the environment when the order carries it: `HEROKU_APP_ID`, `HEROKU_APP_NAME`, `HEROKU_DYNO_ID`, `HEROKU_RELEASE_VERSION`, `HEROKU_RELEASE_CREATED_AT`, `HEROKU_SLUG_COMMIT`, `HEROKU_SLUG_DESCRIPTION`.", func(s *stage) error {
			l := s.described()
			return errors.Join(l.err, l.holds("HEROKU_APP_ID", "9daa2797-e49b-4624-932f-ec3f9688e3da", "HEROKU_APP_NAME", "shop", "HEROKU_DYNO_ID", l.dyno.GetId(),
				"HEROKU_RELEASE_VERSION", "v42", "HEROKU_RELEASE_CREATED_AT", "2026-04-02T18:00:42Z", "HEROKU_SLUG_COMMIT", "2c3a0b24", "HEROKU_SLUG_DESCRIPTION", "Deploy 2c3a0b24"))
		}},
		{"P16", "`/etc/heroku/dyno` holds, as JSON, id and name of the dyno, id and name of the app, and id, commit and description of the release, when the order carries metadata.", func(s *stage) error {
			l := s.described()
			want := fmt.Sprintf(`{"dyno":{"id":%q,"name":"run.1"},"app":{"id":"9daa2797-e49b-4624-932f-ec3f9688e3da","name":"shop"},"release":{"id":"r-42","commit":"2c3a0b24","description":"Deploy 2c3a0b24"}}`, l.dyno.GetId())
			return errors.Join(l.err, l.holds("json", want))
		}},
		{"P17", "A command reads end of file from its standard input, unless a client is attached.", func(s *stage) error { return s.run("cat; echo end").stdout("end") }},
	}
}

// inside is a plain dyno that tells all about itself.
func (s *stage) inside() life {
	return scene(s, "inside", func() life {
		return s.held(s.order("run.1", tell+`
echo names=$(env | cut -d= -f1 | sort)
echo user=$(id -un); echo uid=$(id -u); echo home=$HOME; echo cwd=$(pwd); echo hostname=$(hostname); echo dyno=$DYNO; echo port=$PORT; echo path=$PATH
shopt -q login_shell && echo login=yes; echo order=$ORDER
echo json=$(cat /etc/heroku/dyno 2>/dev/null); echo passwd=$(grep ^dyno: /etc/passwd)
echo hosts=$(grep "$(hostname)" /etc/hosts | tr '\t' ' '); echo localhost=$(grep localhost /etc/hosts | tr '\t' ' ')
echo shm=$(df -k /dev/shm | awk 'NR==2 {print $2}'); echo resolv=$(cat /etc/resolv.conf | tr '\n' ';')
for d in /app /tmp /var/tmp; do touch $d/mine && echo $d=writable; done
for d in / /etc /usr/bin /home; do touch $d/mine 2>/dev/null || echo $d=read-only; done
`+hold, rig.OneOff))
	})
}

func (s *stage) described() life {
	return scene(s, "described", func() life {
		return s.run(`env | grep ^HEROKU_; echo json=$(cat /etc/heroku/dyno)`, func(o *dynodv1.StartDynoRequest) {
			o.Spec.Metadata = &dynodv1.Metadata{
				AppId: "9daa2797-e49b-4624-932f-ec3f9688e3da", ReleaseId: "r-42", ReleaseVersion: "v42",
				ReleaseCreatedAt: timestamppb.New(time.Date(2026, 4, 2, 18, 0, 42, 0, time.UTC)),
				SlugCommit:       "2c3a0b24", SlugDescription: "Deploy 2c3a0b24",
			}
		})
	})
}

var ownPages = regexp.MustCompile(`(?m)^Private_Dirty: +([0-9]+) kB$`) // clean ones are the binary's: a lone process shares them with none

// initMemory reads what process 1 of a dyno does not share with others.
func (s *stage) initMemory() error {
	var kib int
	l := s.play(s.order("worker.1", "./web worker"), s.said("seq=1"), func(id string) error {
		out, err := s.API().GetDyno(s.ctx, &dynodv1.GetDynoRequest{DynoId: id})
		if err != nil {
			return err
		}
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", out.GetDyno().GetPid()))
		for _, line := range ownPages.FindAllStringSubmatch(string(rollup), -1) {
			n, _ := strconv.Atoi(line[1])
			kib += n
		}
		return err
	}, s.stop(""))
	return errors.Join(l.err, unless(kib > 0 && kib < 2048, "it has %d KiB", kib))
}
