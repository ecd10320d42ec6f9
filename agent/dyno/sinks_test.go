package dyno_test

import (
	"strings"
	"testing"

	"github.com/dynod/dynod/agent/dyno"
)

func TestLogSinks(t *testing.T) {
	const plex = "https://user:secret@logs.example:8443/logs?x=secret"
	for _, c := range []struct {
		sinks []dyno.LogSink
		want  string // fields in question
	}{
		{nil, ""},
		{[]dyno.LogSink{{URL: plex, Token: "secret"}, {URL: "syslog+tls://logs.example"}, {URL: "syslog+tls://[2001:db8::1]:6514/"}}, ""},
		{[]dyno.LogSink{{URL: plex}, {URL: plex, Token: "secret"}}, ""},
		{[]dyno.LogSink{{URL: plex}, {URL: plex}}, "[1]"},
		{[]dyno.LogSink{{URL: ""}}, "[0].url"},
		{[]dyno.LogSink{{URL: "http://secret.example"}}, "[0].url"},
		{[]dyno.LogSink{{URL: "https:secret"}}, "[0].url"},
		{[]dyno.LogSink{{URL: "https://:443"}}, "[0].url"},
		{[]dyno.LogSink{{URL: "https://secret.example:0"}}, "[0].url"},
		{[]dyno.LogSink{{URL: "https://secret.example:65536"}}, "[0].url"},
		{[]dyno.LogSink{{URL: "https://secret.example/%zz"}}, "[0].url"},
		{[]dyno.LogSink{{URL: "https://secret.example/#part"}}, "[0].url"},
		{[]dyno.LogSink{{URL: "syslog://secret.example"}}, "[0].url"},
		{[]dyno.LogSink{{URL: "syslog+tls://secret@logs.example"}}, "[0].url"},
		{[]dyno.LogSink{{URL: "syslog+tls://logs.example/secret"}}, "[0].url"},
		{[]dyno.LogSink{{URL: plex, Token: "secret\n"}}, "[0].token"},
		{[]dyno.LogSink{{URL: plex, Token: strings.Repeat("secret", 100)}}, "[0].token"},
		{make([]dyno.LogSink, 9), ""},
	} {
		s, err := defaults().Complete(slug())
		if err != nil {
			t.Fatal(err)
		}
		s.Secret.LogSinks = c.sinks
		err = s.Validate()
		if strings.Contains(text(err), "secret") {
			t.Errorf("%v tells a secret", err)
		}
		if many := len(c.sinks) == 9; many && !strings.Contains(text(err), "spec.log_sinks: must be at most 8") {
			t.Errorf("9 sinks: %v", err)
		} else if !many && strings.HasPrefix(text(err), "spec.log_sinks"+c.want+":") != (c.want != "") || c.want == "" && !many && err != nil {
			t.Errorf("%+v: %v, want a complaint of %q", c.sinks, err, c.want)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
