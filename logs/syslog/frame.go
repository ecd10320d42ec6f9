// Package syslog writes log lines as RFC 5424 messages, octet counted (RFC 6587), and carries them to a receiver over
// TLS (RFC 5425). The frames are those of Logplex too.
//
// A frame's head says how many bytes follow, and text is put behind everything else: whatever bytes a dyno writes,
// they stay text. The package keeps nothing beyond one batch and knows neither dynos nor the spool.
package syslog

import (
	"bytes"
	"strconv"
	"time"
)

// MaxFrame is the longest frame in bytes, its count included.
const MaxFrame = 10240

// Kind is who says a message, as receivers tell it apart.
type Kind uint8

// App is output of the dyno, Platform what the platform says about it, Metrics its measures, Loss a count of messages
// that will never come.
const (
	App Kind = iota
	Platform
	Metrics
	Loss
)

// head is priority and application name of each kind: facility times 8 plus severity.
var head = [...]struct{ priority, app string }{
	App: {"<190>", "app"}, Platform: {"<45>", "heroku"}, Metrics: {"<134>", "heroku"}, Loss: {"<172>", "heroku"},
}

// Message is one line.
type Message struct {
	Kind Kind
	Time time.Time
	Text []byte // any bytes
}

// Origin is where messages come from.
type Origin struct{ Host, Process string }

// stampLayout is RFC 5424's time with microseconds; UTC reads "+00:00".
const stampLayout = "2006-01-02T15:04:05.000000-07:00"

// RFC 5424's bounds of two fields, in bytes.
const (
	maxHost    = 255
	maxProcess = 128
)

// AppendFrames adds "<count> <priority>1 <time> <host> <app> <process> - - <text>" to b and gives the number of frames:
// more than one where the text does not fit.
func AppendFrames(b []byte, o Origin, m Message) (frames []byte, n int) {
	h := head[m.Kind]
	front := make([]byte, 0, 128)
	front = append(append(front, h.priority...), "1 "...)
	front = append(m.Time.UTC().AppendFormat(front, stampLayout), ' ')
	front = append(appendField(front, o.Host, maxHost), ' ')
	front = append(append(front, h.app...), ' ')
	front = append(appendField(front, o.Process, maxProcess), " - - "...)
	const count = len("10240 ")
	for rest := m.Text; n == 0 || len(rest) > 0; n++ {
		text := rest[:min(len(rest), MaxFrame-count-len(front))]
		rest = rest[len(text):]
		b = append(strconv.AppendInt(b, int64(len(front)+len(text)), 10), ' ')
		b = append(append(b, front...), text...)
	}
	return b, n
}

// appendField adds a header field: printable ASCII without spaces, "-" for an empty one.
func appendField(b []byte, field string, limit int) []byte {
	if field == "" {
		return append(b, '-')
	}
	for i := range min(len(field), limit) {
		if c := field[i]; c > ' ' && c < 0x7f {
			b = append(b, c)
		} else {
			b = append(b, '?')
		}
	}
	return b
}

// KindOfPlatform tells measures from other lines of the platform's own stream, which no dyno can write.
func KindOfPlatform(text []byte) Kind {
	if bytes.HasPrefix(text, []byte("source=")) && bytes.Contains(text, []byte(" sample#")) {
		return Metrics
	}
	return Platform
}
