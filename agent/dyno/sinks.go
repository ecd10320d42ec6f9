package dyno

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
)

// MaxLogSinks is how many log sinks one dyno may have.
const MaxLogSinks = 8

// LogSink is one more receiver of a dyno's log lines. Both fields are secret.
type LogSink struct {
	URL   string `json:"url"` // https://… (Logplex) or syslog+tls://host:port (RFC 5424)
	Token string `json:"token,omitempty"`
}

// SameSinks says whether two orders have their lines go to the same places. Of values that are gone nobody knows.
func (s Spec) SameSinks(other Spec) bool {
	return s.Secret.Gone || other.Secret.Gone || slices.Equal(s.Secret.LogSinks, other.Secret.LogSinks)
}

// validateSinks never says what a URL or a token holds.
func validateSinks(v *Invalid, sinks []LogSink) {
	v.unless(len(sinks) <= MaxLogSinks, "spec.log_sinks", "must be at most %d", MaxLogSinks)
	for i, sink := range sinks {
		field := fmt.Sprintf("spec.log_sinks[%d]", i)
		v.unless(len(sink.URL) <= maxReference && sinkURL(sink.URL), field+".url", "must be an https or syslog+tls URL with a host, of at most %d bytes", maxReference)
		v.unless(len(sink.Token) <= maxToken && printable(sink.Token), field+".token", "must be at most %d printable characters", maxToken)
		v.unless(!slices.Contains(sinks[:i], sink), field, "is the same as one before")
	}
}

const maxToken = 256

func sinkURL(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Opaque != "" || u.Fragment != "" {
		return false
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	switch u.Scheme {
	case "https":
		return true
	case "syslog+tls": // which has neither users nor paths
		return u.User == nil && (u.Path == "" || u.Path == "/") && u.RawQuery == ""
	}
	return false
}
