package dyno_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent/dyno"
)

// attached is a dyno that awaits its client since noon.
func attached() dyno.Record {
	return dyno.Record{Phase: dyno.Starting, Accepted: noon, Spec: dyno.Spec{Type: "run", OneOff: true, Attach: &dyno.Attach{}}}.Awaits(noon)
}

func TestNextDueOfAnAttachedDyno(t *testing.T) {
	after := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	waiting := attached()
	served, err := waiting.Attached(after(7))
	if err != nil {
		t.Fatal(err)
	}
	left := served.Abandoned(after(60))
	hung := func(times int) dyno.Record {
		r := left
		for range times {
			r = r.HungUp()
		}
		return r
	}
	bounded := hung(1)
	bounded.Spec.TimeToLive = 61 * time.Second
	stopped := hung(1)
	stopped.Stop = &dyno.Stop{At: after(61), Grace: time.Second}
	tests := map[string]struct {
		record dyno.Record
		due    dyno.Due
		at     time.Time
	}{
		"not ready yet":        {dyno.Record{Phase: dyno.Starting, Spec: waiting.Spec}, dyno.Nothing, time.Time{}},
		"awaits its client":    {waiting, dyno.AttachExpired, after(30)},
		"has its client":       {served, dyno.Nothing, time.Time{}},
		"client went too soon": {served.Vacated(), dyno.AttachExpired, after(30)},
		"client lost":          {left, dyno.HangUp, after(60)},
		"second SIGHUP":        {hung(1), dyno.HangUp, after(65)},
		"third SIGHUP":         {hung(2), dyno.HangUp, after(70)},
		"does not care":        {hung(3), dyno.HangUpFailed, after(75)},
		"detached":             {hung(3).Detached(), dyno.Nothing, time.Time{}},
		"life is over first":   {bounded, dyno.LifeOver, after(61)},
		"a stop is a stop":     {stopped, dyno.GraceOver, after(62)},
	}
	for name, test := range tests {
		if due, at := test.record.NextDue(); due != test.due || !at.Equal(test.at) {
			t.Errorf("%s: got %v at %s, want %v at %s", name, due, at, test.due, test.at)
		}
	}
}

func TestWhoMayAttach(t *testing.T) {
	change := func(f func(*dyno.Record)) dyno.Record {
		r := attached()
		f(&r)
		return r
	}
	tests := map[string]struct {
		record dyno.Record
		now    bool
		why    string
	}{
		"ready":         {attached(), true, ""},
		"not yet":       {change(func(r *dyno.Record) { r.Client = dyno.Client{} }), false, ""},
		"not so":        {change(func(r *dyno.Record) { r.Spec.Attach = nil }), false, "was not ordered with attach"},
		"second client": {change(func(r *dyno.Record) { r.Client.Came = noon }), false, "has its client"},
		"after a loss":  {change(func(r *dyno.Record) { r.Client.Came, r.Client.Left = noon, noon }), false, "has lost its client"},
		"stopping":      {change(func(r *dyno.Record) { r.Stop = &dyno.Stop{} }), false, "is being ended"},
		"killed":        {change(func(r *dyno.Record) { r.Killed = noon }), false, "is being ended"},
		"ended":         {change(func(r *dyno.Record) { r.Phase = dyno.Complete }), false, "has ended"},
	}
	for name, test := range tests {
		now, err := test.record.Attachable()
		refused := errdefs.IsFailedPrecondition(err) && strings.Contains(err.Error(), test.why)
		if now != test.now || (test.why == "") != (err == nil) || err != nil && !refused {
			t.Errorf("%s: %v %v", name, now, err)
		}
		if _, err := test.record.Attached(noon); (err == nil) != test.now {
			t.Errorf("%s: attached with %v", name, err)
		}
	}
}

func TestAbandonable(t *testing.T) {
	served, _ := attached().Attached(noon)
	stopped, killed := served, served
	stopped.Stop, killed.Killed = &dyno.Stop{}, noon
	for name, test := range map[string]struct {
		record dyno.Record
		want   bool
	}{
		"served": {served, true}, "nobody came": {attached(), false}, "already": {served.Abandoned(noon), false},
		"stopped": {stopped, false}, "killed": {killed, false},
	} {
		if got := test.record.Abandonable(); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAttachIsChecked(t *testing.T) {
	const good = "rendezvous://rendezvous.example:5000/secret"
	for name, test := range map[string]struct {
		change func(*dyno.Spec)
		field  string
	}{
		"good":           {func(s *dyno.Spec) { s.Secret.RendezvousURL = good }, ""},
		"formation":      {func(s *dyno.Spec) { s.OneOff = false }, "spec.one_off"},
		"restarts":       {func(s *dyno.Spec) { s.Restart.Backoff = true }, "spec.restart_policy.kind"},
		"another scheme": {func(s *dyno.Spec) { s.Secret.RendezvousURL = "https" + good[10:] }, "spec.attach.rendezvous_url"},
		"no port":        {func(s *dyno.Spec) { s.Secret.RendezvousURL = "rendezvous://hidden.example/secret" }, "spec.attach.rendezvous_url"},
		"no secret":      {func(s *dyno.Spec) { s.Secret.RendezvousURL = "rendezvous://hidden.example:5000/" }, "spec.attach.rendezvous_url"},
		"two lines":      {func(s *dyno.Spec) { s.Secret.RendezvousURL = good + "\n" }, "spec.attach.rendezvous_url"},
		"too long":       {func(s *dyno.Spec) { s.Secret.RendezvousURL = good + strings.Repeat("x", 1024) }, "spec.attach.rendezvous_url"},
	} {
		t.Run(name, func(t *testing.T) {
			s := slug()
			s.Name, s.OneOff, s.Attach = "run.1", true, &dyno.Attach{}
			test.change(&s)
			_, err := defaults().Complete(s)
			if test.field == "" && err != nil || test.field != "" && (err == nil || !strings.HasPrefix(err.Error(), test.field+":")) {
				t.Errorf("got %v", err)
			}
			if err != nil && (strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), "rendezvous.example")) {
				t.Errorf("the URL is secret: %v", err)
			}
		})
	}
}

func TestReleaseType(t *testing.T) {
	for name, test := range map[string]struct {
		spec   func(*dyno.Spec)
		oneOff bool
		limit  time.Duration
	}{
		"release":           {func(s *dyno.Spec) { s.Name = "release.1" }, true, time.Hour},
		"by type":           {func(s *dyno.Spec) { s.Type = "release" }, true, time.Hour},
		"the order's limit": {func(s *dyno.Spec) { s.Name, s.TimeToLive = "release.1", 2*time.Hour }, true, 2 * time.Hour},
		"run":               {func(s *dyno.Spec) { s.Name, s.OneOff = "run.1", true }, true, 0},
		"scheduler":         {func(s *dyno.Spec) { s.Name = "scheduler.1" }, false, 0},
		"worker":            {func(s *dyno.Spec) { s.Name = "worker.1" }, false, 0},
	} {
		s := slug()
		test.spec(&s)
		got, err := defaults().Complete(s)
		if err != nil || got.OneOff != test.oneOff || got.TimeToLive != test.limit {
			t.Errorf("%s: one-off %v, limit %s, %v", name, got.OneOff, got.TimeToLive, err)
		}
	}
}

func TestFurtherCommands(t *testing.T) {
	inSlug, inImage := slug(), dyno.Spec{Artifact: dyno.Artifact{Image: "img"}}
	plain, built := dyno.Image{}, dyno.Image{Buildpacks: &dyno.Buildpacks{}}
	for name, test := range map[string]struct {
		spec  dyno.Spec
		image dyno.Image
		words []string
		want  []string
	}{
		"shell in an image":             {inImage, plain, nil, []string{"/bin/sh"}},
		"command in an image":           {inImage, plain, []string{"ls", "-l"}, []string{"ls", "-l"}},
		"shell in a buildpacks image":   {inImage, built, nil, []string{"/cnb/lifecycle/launcher", "--", "/bin/sh"}},
		"command in a buildpacks image": {inImage, built, []string{"ls"}, []string{"/cnb/lifecycle/launcher", "--", "ls"}},
		"shell in a slug":               {inSlug, plain, nil, []string{"bash", "/bin/bash"}},
		"command in a slug":             {inSlug, plain, []string{"ls", "a b"}, []string{"bash", "ls", "a b"}},
	} {
		got := test.spec.Further(test.image, test.words)
		if !slices.Equal(got[max(0, len(got)-len(test.want)):], test.want) {
			t.Errorf("%s: %q", name, got)
		}
		if test.spec.Artifact.Image == "" && (!slices.Contains(got, "--login") || !strings.Contains(got[4], ".profile.d")) {
			t.Errorf("%s: no login shell: %q", name, got)
		}
	}
	if err := dyno.ValidateWords([]string{"", "b\x00"}); err == nil || !strings.Contains(err.Error(), "start.command[1]") || !strings.Contains(err.Error(), "start.command[0]") {
		t.Errorf("got %v", err)
	}
}

func TestTermHasADefault(t *testing.T) {
	if got := dyno.WithTerm([]string{"A=1"}); !slices.Equal(got, []string{"A=1", "TERM=xterm"}) {
		t.Errorf("got %q", got)
	}
	if got := dyno.WithTerm([]string{"TERM=vt100"}); !slices.Equal(got, []string{"TERM=vt100"}) {
		t.Errorf("got %q", got)
	}
}
