package dyno_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/agent/dyno"
)

func TestEvict(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	roomy, full := dyno.Disk{ID: 1, Bytes: 1000, Free: 500}, dyno.Disk{ID: 2, Bytes: 1000, Free: 50}
	cached := func(name string, bytes int64, unused time.Duration, disk dyno.Disk, change ...func(*dyno.Cached)) dyno.Cached {
		c := dyno.Cached{Name: name, Bytes: bytes, Used: now.Add(-unused), Disk: disk}
		for _, f := range change {
			f(&c)
		}
		return c
	}
	used := func(c *dyno.Cached) { c.References = 1 }
	stack := func(c *dyno.Cached) { c.Stack = true }
	day := 24 * time.Hour
	keeping := dyno.Keeping{MaxUnused: 14 * day, MinFreePercent: 20}
	for name, c := range map[string]struct {
		keeping dyno.Keeping
		all     []dyno.Cached
		want    string
	}{
		"nothing there":        {keeping, nil, ""},
		"room enough":          {keeping, []dyno.Cached{cached("a", 1, day, roomy)}, ""},
		"too old":              {keeping, []dyno.Cached{cached("a", 1, 14*day, roomy), cached("b", 1, 14*day-1, roomy)}, "a"},
		"too old but used":     {keeping, []dyno.Cached{cached("a", 1, 15*day, roomy, used)}, ""},
		"too old but a stack":  {keeping, []dyno.Cached{cached("a", 1, 15*day, roomy, stack)}, ""},
		"no age":               {dyno.Keeping{}, []dyno.Cached{cached("a", 1, 500*day, full)}, ""},
		"oldest first":         {keeping, []dyno.Cached{cached("new", 100, day, full), cached("old", 100, 3*day, full), cached("older", 100, 4*day, full)}, "older old"},
		"only as many":         {keeping, []dyno.Cached{cached("new", 100, day, full), cached("old", 150, 3*day, full)}, "old"},
		"those in use stay":    {keeping, []dyno.Cached{cached("new", 150, day, full), cached("old", 150, 3*day, full, used)}, "new"},
		"only the full disk":   {keeping, []dyno.Cached{cached("a", 100, 3*day, roomy), cached("b", 100, 2*day, full)}, "b"},
		"age makes room too":   {keeping, []dyno.Cached{cached("a", 150, 15*day, full), cached("b", 100, day, full)}, "a"},
		"disk unknown":         {keeping, []dyno.Cached{cached("a", 100, day, dyno.Disk{})}, ""},
		"pressure without age": {dyno.Keeping{MinFreePercent: 20}, []dyno.Cached{cached("a", 100, 500*day, full), cached("b", 100, day, full)}, "a b"},
		"age without pressure": {dyno.Keeping{MaxUnused: day}, []dyno.Cached{cached("a", 100, day, full), cached("b", 100, day/2, full)}, "a"},
	} {
		var got []string
		for _, e := range c.keeping.Evict(c.all, now) {
			got = append(got, e.Name)
		}
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestValidateArtifact(t *testing.T) {
	sum := strings.Repeat("a", 64)
	from := dyno.Sources{Stacks: []string{"small"}}
	slug := dyno.Artifact{Stack: "small", SHA256: sum}
	for field, c := range map[string]struct {
		a dyno.Artifact
		s dyno.Secret
	}{
		"":                         {slug, dyno.Secret{SlugURL: "https://x/"}},
		"artifact":                 {dyno.Artifact{}, dyno.Secret{}},
		"artifact.slug.sha256":     {dyno.Artifact{Stack: "small", SHA256: "x"}, dyno.Secret{SlugURL: "https://x/"}},
		"artifact.slug.stack":      {dyno.Artifact{Stack: "other", SHA256: sum}, dyno.Secret{SlugURL: "https://x/"}},
		"artifact.slug.url":        {slug, dyno.Secret{SlugURL: "http://hidden/"}},
		"artifact.image.reference": {dyno.Artifact{Image: "/a.tar"}, dyno.Secret{}},
	} {
		err := from.ValidateArtifact(c.a, c.s)
		invalid, _ := errors.AsType[dyno.Invalid](err)
		switch {
		case field == "" && err != nil, field != "" && (len(invalid) == 0 || invalid[0].Field != field):
			t.Errorf("%s: %v", field, err)
		case err != nil && strings.Contains(err.Error(), "hidden"):
			t.Errorf("%s: the URL is in %v", field, err)
		}
	}
}

func TestBuildpacksImage(t *testing.T) {
	image := dyno.Image{
		Entrypoint: []string{"/cnb/process/web"}, Environment: []string{"HOME=/home/cnb", "CNB_APP_DIR=/workspace"}, Directory: "/workspace",
		Buildpacks: &dyno.Buildpacks{Types: []string{"web", "worker"}},
	}
	legacy := image
	legacy.Buildpacks = &dyno.Buildpacks{Types: []string{"web"}, Legacy: true}
	for name, c := range map[string]struct {
		image   dyno.Image
		kind    string
		command dyno.Command
		want    []string
		unfit   string
	}{
		"process type":    {image, "worker", dyno.Command{}, []string{"/cnb/process/worker"}, ""},
		"old launcher":    {legacy, "web", dyno.Command{}, []string{"/cnb/lifecycle/launcher", "web"}, ""},
		"words":           {image, "run", dyno.Command{Words: []string{"rake", "db:migrate"}}, []string{"/cnb/lifecycle/launcher", "--", "rake", "db:migrate"}, ""},
		"line":            {image, "run", dyno.Command{Line: "rake $TASK"}, []string{"/cnb/lifecycle/launcher", "rake $TASK"}, ""},
		"no such process": {image, "clock", dyno.Command{}, nil, `The image has no process type "clock"; it has: "web", "worker"`},
	} {
		s := dyno.Spec{Type: c.kind, Command: c.command, Artifact: dyno.Artifact{Image: "app:1"}}
		err := s.Fits(c.image)
		if c.unfit != "" {
			if err == nil || err.Error() != c.unfit || !errdefs.IsInvalidArgument(err) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if diff := cmp.Diff(c.want, s.Arguments(c.image)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	env := dyno.Record{Spec: dyno.Spec{Artifact: dyno.Artifact{Image: "app:1"}}}.Environ(image)
	if joined := strings.Join(env, " "); !strings.Contains(joined, "HOME=/home/cnb ") || !strings.Contains(joined, "CNB_APP_DIR=/workspace ") {
		t.Errorf("environment: %s", joined)
	}
}

func TestImagesThatDoNotFit(t *testing.T) {
	long := strings.Repeat("x", 1<<17)
	for name, c := range map[string]struct {
		image dyno.Image
		fits  bool
	}{
		"usual":              {dyno.Image{Directory: "/srv/app"}, true},
		"no directory":       {dyno.Image{}, true},
		"relative directory": {dyno.Image{Directory: "app"}, false},
		"proc":               {dyno.Image{Directory: "/proc"}, false},
		"a descriptor":       {dyno.Image{Directory: "/proc/self/fd/7"}, false},
		"around":             {dyno.Image{Directory: "/srv/../proc/self"}, false},
		"sys":                {dyno.Image{Directory: "//sys/fs"}, false},
		"dev":                {dyno.Image{Directory: "/dev/shm"}, false},
		"only like it":       {dyno.Image{Directory: "/processes"}, true},
		"long directory":     {dyno.Image{Directory: "/" + long}, false},
		"long word":          {dyno.Image{Entrypoint: []string{long}}, false},
		"NUL":                {dyno.Image{Command: []string{"a\x00b"}}, false},
		"much environment":   {dyno.Image{Environment: strings.Split(strings.Repeat("A="+long[:1000]+" ", 1100), " ")}, false},
	} {
		s := dyno.Spec{Artifact: dyno.Artifact{Image: "app:1"}}
		_, unfit := errors.AsType[*dyno.UnfitError](s.Fits(c.image))
		if unfit == c.fits {
			t.Errorf("%s: %v", name, s.Fits(c.image))
		}
	}
}
