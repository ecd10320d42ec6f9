package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// mayColour: a terminal, and its user has not said no (no-color.org).
func mayColour(f *os.File) bool {
	return isTerminal(f) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// writeJSON writes one message as an indented object.
func (c *ctl) writeJSON(m proto.Message) error { return c.encode(m, "  ") }

// writeJSONLine writes one message as one line, for streams.
func (c *ctl) writeJSONLine(m proto.Message) error { return c.encode(m, "") }

// encode lays the JSON out itself: protojson varies its spaces on purpose.
func (c *ctl) encode(m proto.Message, indent string) error {
	text, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode JSON: %w", err)
	}
	var line bytes.Buffer
	if indent == "" {
		err = json.Compact(&line, text)
	} else {
		err = json.Indent(&line, text, "", indent)
	}
	if err != nil {
		return fmt.Errorf("encode JSON: %w", err)
	}
	line.WriteByte('\n')
	_, err = c.out.Write(line.Bytes())
	return err
}

// writeTable writes rows in columns; empty cells become "-".
func (c *ctl) writeTable(rows [][]string) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cells[i] = printable(cell); cell == "" {
				cells[i] = "-"
			}
		}
		_, _ = fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// facts are named values; writeFacts leaves out the empty ones.
type facts [][2]string

func (c *ctl) writeFacts(f facts) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, fact := range f {
		if fact[1] != "" {
			_, _ = fmt.Fprintf(w, "%s:\t%s\n", fact[0], printable(fact[1]))
		}
	}
	return w.Flush()
}

// printable replaces what could steer a terminal, or hide or reorder text on it, by Go escapes: control characters
// (tabs excepted), bidirectional marks, and bytes that are no UTF-8.
func printable(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, steers) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			_, _ = fmt.Fprintf(&b, `\x%02x`, s[0])
		case steers(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

func steers(r rune) bool {
	switch {
	case r == '\t':
		return false
	case r < 0x20, r >= 0x7f && r <= 0x9f: // C0, DEL, C1
		return true
	default:
		return r == '\u061c' || r == '\u200e' || r == '\u200f' || r >= '\u2028' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
	}
}

// age is the time since t in its largest unit: 12s, 5m, 3h, 2d.
func age(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	d := max(time.Since(t.AsTime()), 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}

// stamp is a time in full.
func stamp(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Format(time.RFC3339)
}

// number is n, or nothing for 0.
func number[N uint32 | int32 | int64](n N) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(int64(n), 10)
}
