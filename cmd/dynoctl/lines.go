package main

import (
	"bytes"
	"fmt"
	"hash/fnv"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// stampLayout is the time of Heroku's log format; in UTC its offset reads "+00:00".
const stampLayout = "2006-01-02T15:04:05.000000-07:00"

// lineWriter gives what writes one log line of the dyno of that name.
func (c *ctl) lineWriter(name string, raw bool) func(*dynodv1.LogLine) error {
	switch {
	case c.json():
		return func(l *dynodv1.LogLine) error { return c.writeJSONLine(l) }
	case raw:
		return c.writeRaw
	default:
		return func(l *dynodv1.LogLine) error { return c.writeLine(name, l) }
	}
}

// writeRaw gives back the stream as the app wrote it: the newline only where there was one, which is where the line
// covers more bytes than its text has.
func (c *ctl) writeRaw(l *dynodv1.LogLine) error {
	if l.GetLostBytes() > 0 {
		_, _ = fmt.Fprintf(c.errOut, "dynoctl: %s\n", lossText(l))
	}
	text := l.GetText()
	if l.GetSize() > int64(len(text)) {
		text = append(bytes.Clone(text), '\n')
	}
	_, err := c.out.Write(text)
	return err
}

func (c *ctl) writeLine(name string, l *dynodv1.LogLine) error {
	text := string(l.GetText())
	if c.terminal {
		text = printable(text)
	}
	var out string
	if l.GetLostBytes() > 0 {
		out = c.prefix("dynod", name, l) + lossText(l) + "\n"
	}
	if l.GetSize() > 0 { // otherwise it only tells what was lost
		out += c.prefix(source(l.GetStream()), name, l) + text + "\n"
	}
	_, err := c.out.Write([]byte(out))
	return err
}

// source is the first word of a line in Heroku's format: who says it.
func source(s dynodv1.LogStream) string {
	if s == dynodv1.LogStream_LOG_STREAM_PLATFORM {
		return "heroku"
	}
	return "app"
}

// lossText says what is missing before a line. Without a count of lines nobody saw what it was: bytes are a bound then.
func lossText(l *dynodv1.LogLine) string {
	of := ""
	for name, s := range streams {
		if s == l.GetStream() {
			of = " of " + name
		}
	}
	if n := l.GetLostLines(); n > 0 {
		return fmt.Sprintf("%d lines, %d bytes%s were dropped here", n, l.GetLostBytes(), of)
	}
	return fmt.Sprintf("part%s is missing here: at most %d bytes, how many lines is not known", of, l.GetLostBytes())
}

func (c *ctl) prefix(source, name string, l *dynodv1.LogLine) string {
	text := fmt.Sprintf("%s %s[%s]:", l.GetTime().AsTime().Format(stampLayout), source, printable(name))
	if c.colour {
		text = fmt.Sprintf("\x1b[%dm%s\x1b[0m", colourOf(source+name), text)
	}
	return text + " "
}

// colourOf is one of six colours, always the same for one process.
func colourOf(process string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(process))
	const red = 31 // green, yellow, blue, magenta and cyan follow
	return red + int(h.Sum32()%6)
}
