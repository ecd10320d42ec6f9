package dyno_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/agent/dyno"
)

func defaults() dyno.Defaults {
	return dyno.Defaults{
		Sizes: map[string]dyno.Limits{"standard-1x": {Memory: 512 << 20, Swap: 512 << 20, R15Percent: 200, CPUWeight: 100, Pids: 256, Files: 10000, Disk: 1 << 30}},
		Size:  "standard-1x", Port: 5000, BootTimeout: time.Minute, Grace: 30 * time.Second,
		Sources: dyno.Sources{Stacks: []string{"small"}},
	}
}

func TestSources(t *testing.T) {
	tests := map[string]struct {
		from  dyno.Sources
		spec  func(*dyno.Spec)
		field string // wrong; empty: none is
	}{
		"https":                  {dyno.Sources{}, func(*dyno.Spec) {}, ""},
		"http":                   {dyno.Sources{}, func(s *dyno.Spec) { s.Secret.SlugURL = "http://x/" }, "spec.artifact.slug.url"},
		"http allowed":           {dyno.Sources{HTTP: true}, func(s *dyno.Spec) { s.Secret.SlugURL = "http://x/" }, ""},
		"file":                   {dyno.Sources{HTTP: true}, func(s *dyno.Spec) { s.Secret.SlugURL = "file:///x" }, "spec.artifact.slug.url"},
		"file allowed":           {dyno.Sources{Files: true}, func(s *dyno.Spec) { s.Secret.SlugURL = "file:///x" }, ""},
		"no URL":                 {dyno.Sources{Files: true, HTTP: true}, func(s *dyno.Spec) { s.Secret.SlugURL = "%" }, "spec.artifact.slug.url"},
		"unknown stack":          {dyno.Sources{}, func(s *dyno.Spec) { s.Artifact.Stack = "big" }, "spec.artifact.slug.stack"},
		"image":                  {dyno.Sources{}, func(s *dyno.Spec) { s.Artifact = dyno.Artifact{Image: "r.example/a:1"} }, ""},
		"image by path":          {dyno.Sources{}, func(s *dyno.Spec) { s.Artifact = dyno.Artifact{Image: "/a.tar"} }, "spec.artifact.image.reference"},
		"image by path, allowed": {dyno.Sources{Files: true}, func(s *dyno.Spec) { s.Artifact = dyno.Artifact{Image: "/a.tar"} }, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d, s := defaults(), slug()
			test.from.Stacks = d.Sources.Stacks
			d.Sources = test.from
			test.spec(&s)
			_, err := d.Complete(s)
			var invalid dyno.Invalid
			switch errors.As(err, &invalid); {
			case test.field == "" && err != nil:
				t.Error(err)
			case test.field != "" && (len(invalid) != 1 || invalid[0].Field != test.field):
				t.Errorf("got %v, want %s", err, test.field)
			}
		})
	}
}

func slug() dyno.Spec {
	return dyno.Spec{
		App: "shop", Name: "web.1", Command: dyno.Command{Line: "bin/web -p $PORT"},
		Artifact: dyno.Artifact{Stack: "small", SHA256: strings.Repeat("a", 64)},
		Secret:   dyno.Secret{SlugURL: "https://slugs.example/1", Environment: map[string]string{"A": "1"}},
	}
}

func TestComplete(t *testing.T) {
	got, err := defaults().Complete(slug())
	if err != nil {
		t.Fatal(err)
	}
	want := slug()
	want.Type, want.Size, want.Port, want.NetworkPolicy = "web", "standard-1x", 5000, "default"
	want.BootTimeout, want.Grace, want.Limits = time.Minute, 30*time.Second, defaults().Sizes["standard-1x"]
	want.Given = got.Given // see TestSameOrder
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	shut := slug()
	shut.NetworkPolicy = "shut"
	if _, err := defaults().Complete(shut); err == nil {
		t.Error("a policy that the host does not have was accepted")
	}
	has := defaults()
	has.Policies = []string{"shut"}
	if got, err := has.Complete(shut); err != nil || got.NetworkPolicy != "shut" {
		t.Errorf("a policy that the host has: %q %v", got.NetworkPolicy, err)
	}
	own := slug()
	own.Limits = dyno.Limits{Memory: 64 << 20, Pids: 32, Files: 64, Disk: 2 << 20}
	got, err = defaults().Complete(own)
	wantOwn := dyno.Limits{Memory: 64 << 20, Swap: 64 << 20, R15Percent: 200, CPUWeight: 100, Pids: 32, Files: 64, Disk: 2 << 20}
	if diff := cmp.Diff(wantOwn, got.Limits); diff != "" || err != nil {
		t.Errorf("own limits: %s %v", diff, err)
	}
	private := defaults()
	private.Sizes["standard-1x"] = dyno.Limits{Memory: 1 << 30, R15Percent: 300, CPUWeight: 1, Pids: 8, Files: 64}
	if got, err = private.Complete(own); got.Limits.Swap != 0 || got.Limits.Vast() != 3*64<<20 || err != nil {
		t.Errorf("own quota in a size without swap: %+v %v", got.Limits, err)
	}
}

// manyWords gives s a command of which each word would do.
func manyWords(s *dyno.Spec) {
	s.Artifact, s.Command = dyno.Artifact{Image: "app:1"}, dyno.Command{Words: slices.Repeat([]string{strings.Repeat("x", 99<<10)}, 11)}
}

func TestValidateNamesEveryWrongField(t *testing.T) {
	tests := map[string]func(*dyno.Spec){
		"spec.app":                      func(s *dyno.Spec) { s.App = "Shop/../x" },
		"spec.name":                     func(s *dyno.Spec) { s.Name = "web" },
		"spec.type":                     func(s *dyno.Spec) { s.Type = "we b" },
		"spec.size":                     func(s *dyno.Spec) { s.Size = "huge" },
		"spec.port":                     func(s *dyno.Spec) { s.Port = 80 },
		"spec.boot_timeout":             func(s *dyno.Spec) { s.BootTimeout = 2 * time.Hour },
		"spec.grace":                    func(s *dyno.Spec) { s.Grace = -1 },
		"spec.time_to_live":             func(s *dyno.Spec) { s.TimeToLive = -1 },
		"spec.limits.memory_bytes":      func(s *dyno.Spec) { s.Limits.Memory = 1 },
		"spec.limits.cpu_weight":        func(s *dyno.Spec) { s.Limits.CPUWeight = 20000 },
		"spec.limits.pids":              func(s *dyno.Spec) { s.Limits.Pids = 1 },
		"spec.limits.open_files":        func(s *dyno.Spec) { s.Limits.Files = 1<<20 + 1 },
		"spec.limits.disk_bytes":        func(s *dyno.Spec) { s.Limits.Disk = 1 },
		"spec.artifact":                 func(s *dyno.Spec) { s.Artifact.Stack = "" },
		"spec.artifact.slug.sha256":     func(s *dyno.Spec) { s.Artifact.SHA256 = strings.Repeat("A", 64) },
		"spec.artifact.slug.url":        func(s *dyno.Spec) { s.Secret.SlugURL = "" },
		"spec.command.line":             func(s *dyno.Spec) { s.Command.Line = "" },
		"spec.command":                  func(s *dyno.Spec) { s.Command.Words = []string{"x"} },
		"spec.command.words":            manyWords,
		"spec.network_policy":           func(s *dyno.Spec) { s.NetworkPolicy = "open" },
		`spec.environment["A=B"]`:       func(s *dyno.Spec) { s.Secret.Environment = map[string]string{"A=B": ""} },
		`spec.environment["N"]`:         func(s *dyno.Spec) { s.Secret.Environment = map[string]string{"N": "a\x00b"} },
		`spec.environment["BIG"]`:       func(s *dyno.Spec) { s.Secret.Environment = map[string]string{"BIG": strings.Repeat("x", 128<<10)} },
		"spec.metadata.release_id":      func(s *dyno.Spec) { s.Metadata.ReleaseID = "a\nb" },
		"spec.restart_policy.delays":    func(s *dyno.Spec) { s.Restart = dyno.Policy{Backoff: true, Delays: []time.Duration{-1}} },
		"spec.artifact.image.reference": func(s *dyno.Spec) { s.Artifact.Image = "a b\x00" },
	}
	for field, spoil := range tests {
		t.Run(field, func(t *testing.T) {
			s := slug()
			spoil(&s)
			_, err := defaults().Complete(s)
			var invalid dyno.Invalid
			if !errors.As(err, &invalid) || !errdefs.IsInvalidArgument(err) {
				t.Fatalf("got %v", err)
			}
			if len(invalid) != 1 || invalid[0].Field != field {
				t.Errorf("got %v, want just %s", err, field)
			}
			for _, value := range s.Secret.Environment {
				if len(value) > 2 && strings.Contains(err.Error(), value) {
					t.Error("the error shows a value of the environment")
				}
			}
		})
	}
}

func TestArguments(t *testing.T) {
	image := dyno.Image{Entrypoint: []string{"/entry"}, Command: []string{"serve"}}
	img := dyno.Artifact{Image: "app:1"}
	tests := map[string]struct {
		spec  dyno.Spec
		want  []string
		shown string
	}{
		"image":       {dyno.Spec{Artifact: img}, []string{"/entry", "serve"}, "/entry serve"},
		"image words": {dyno.Spec{Artifact: img, Command: dyno.Command{Words: []string{"a", "$PORT"}}}, []string{"/entry", "a", "$PORT"}, "a 5000"},
		"image line":  {dyno.Spec{Artifact: img, Command: dyno.Command{Line: "a ${PORT}"}}, []string{"/bin/sh", "-c", "a ${PORT}"}, "a 5000"},
	}
	for name, test := range tests {
		test.spec.Port = 5000
		if got := test.spec.Arguments(image); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q", name, got)
		}
		if got := test.spec.CommandShown(image); got != test.shown {
			t.Errorf("%s shown: %q", name, got)
		}
	}
}

func TestSlugCommandRunsInALoginShell(t *testing.T) {
	args := slug().Arguments(dyno.Image{})
	if want := []string{"/bin/bash", "--noprofile", "--login", "-c"}; !slices.Equal(args[:4], want) || len(args) != 5 {
		t.Fatalf("got %q", args)
	}
	at := -1
	for _, part := range []string{"/etc/profile", "/app/.profile.d/*.sh", "\n[ -r /app/.profile ]", "\nbin/web -p $PORT"} {
		next := strings.Index(args[4], part)
		if next <= at {
			t.Errorf("%q is missing or too early in %q", part, args[4])
		}
		at = next
	}
}

func TestEnviron(t *testing.T) {
	s, err := defaults().Complete(slug())
	if err != nil {
		t.Fatal(err)
	}
	s.Secret.Environment = map[string]string{"PATH": "/mine", "EMPTY": "", "ODD": "a\nb=c"}
	s.Metadata = dyno.Metadata{AppID: "app-1", ReleaseVersion: "v7", ReleaseCreatedAt: noon}
	r := dyno.Record{ID: "id-1", Spec: s}
	about := `{"dyno":{"id":"id-1","name":"web.1"},"app":{"id":"app-1","name":"shop"},"release":{"id":"","commit":"","description":""}}` + "\n"
	if got := string(r.About()); got != about {
		t.Errorf("about: %s", got)
	}
	if got := (dyno.Record{ID: "id-1"}).About(); got != nil {
		t.Errorf("about a dyno without metadata: %s", got)
	}
	want := []string{
		"DYNO=web.1", "EMPTY=", "HEROKU_APP_ID=app-1", "HEROKU_APP_NAME=shop", "HEROKU_DYNO_ID=id-1",
		"HEROKU_RELEASE_CREATED_AT=2026-01-02T12:00:00Z", "HEROKU_RELEASE_VERSION=v7",
		"HOME=/app", "ODD=a\nb=c", "PATH=/mine", "PORT=5000", "PWD=/app",
	}
	if diff := cmp.Diff(want, r.Environ(dyno.Image{})); diff != "" {
		t.Errorf("slug: %s", diff)
	}
	r.Spec = dyno.Spec{Name: "web.1", Port: 5000, Artifact: dyno.Artifact{Image: "x"}}
	want = []string{"DYNO=web.1", "FROM=image", "HOME=/app", "PATH=/opt", "PORT=5000", "PWD=/srv"}
	got := r.Environ(dyno.Image{Environment: []string{"FROM=image", "PORT=1", "PATH=/opt"}, Directory: "/srv"})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("image: %s", diff)
	}
}

func TestLines(t *testing.T) {
	for want, got := range map[string]string{
		"State changed from starting to up": dyno.LineState(dyno.Starting, dyno.Up),
		"Starting process with command `a`": dyno.LineStarting("a"),
		"Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 60 seconds of launch":           dyno.LineBootTimeout(time.Minute),
		"Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds of SIGTERM":          dyno.LineExitTimeout(30 * time.Second),
		"Error R17 (Checksum error) -> Checksum does match expected value. Expected: SHA256:a Actual: SHA256:b": dyno.LineChecksum("a", "b"),
		"Error R99 (Platform error) -> x": dyno.LinePlatform("x"),
		"Process exited with status 143":  dyno.LineExited(143),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The same order is the same, whatever became of the defaults since.
func TestSameOrder(t *testing.T) {
	complete := func(d dyno.Defaults, change func(*dyno.Spec)) dyno.Spec {
		t.Helper()
		s := slug()
		change(&s)
		s, err := d.Complete(s)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	plain := func(*dyno.Spec) {}
	grown := defaults()
	grown.Sizes = map[string]dyno.Limits{"standard-1x": {Memory: 1 << 30, CPUWeight: 200, Pids: 512, Files: 20000}}
	grown.Grace = time.Minute
	old := complete(defaults(), plain)
	for name, test := range map[string]struct {
		now    dyno.Defaults
		change func(*dyno.Spec)
		same   bool
	}{
		"same":                          {defaults(), plain, true},
		"defaults changed":              {grown, plain, true},
		"a default in words":            {defaults(), func(s *dyno.Spec) { s.Size = "standard-1x" }, true},
		"another command":               {defaults(), func(s *dyno.Spec) { s.Command.Line = "other" }, false},
		"another command, and defaults": {grown, func(s *dyno.Spec) { s.Command.Line = "other" }, false},
		"another secret":                {grown, func(s *dyno.Spec) { s.Secret.Environment = map[string]string{"A": "other"} }, false},
		"secret gone":                   {grown, func(s *dyno.Spec) { s.Secret.Gone = true }, true},
	} {
		if got := old.Same(complete(test.now, test.change)); got != test.same {
			t.Errorf("%s: %t", name, got)
		}
	}
	earlier := old
	earlier.Given = "" // of an agent that did not note it
	if !earlier.Same(old) || !old.Same(earlier) {
		t.Error("a record of an earlier agent is another order")
	}
}
