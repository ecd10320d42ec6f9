package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

const (
	barWidth = 30
	// lineEvery is how often a line is written where no bar can be drawn.
	lineEvery = 5 * time.Second
	eraseLine = "\r\x1b[K"
)

// progress shows how far a fetch is: a bar on a terminal, now and then a line elsewhere, nothing in JSON.
type progress struct {
	out   io.Writer
	bar   bool
	quiet bool
	next  time.Time // of a line
	drawn bool
}

func (c *ctl) progress() *progress {
	return &progress{out: c.out, bar: c.terminal, quiet: c.json(), next: time.Now().Add(lineEvery)}
}

func (p *progress) show(a *dynodv1.PrefetchArtifactResponse) {
	switch now := time.Now(); {
	case p.quiet:
	case p.bar:
		_, _ = fmt.Fprint(p.out, eraseLine, bar(a.GetFetchedBytes(), a.GetTotalBytes()))
		p.drawn = true
	case now.After(p.next):
		_, _ = fmt.Fprintln(p.out, amounts(a.GetFetchedBytes(), a.GetTotalBytes()))
		p.next = now.Add(lineEvery)
	}
}

// end leaves the terminal as if nothing had been drawn.
func (p *progress) end() {
	if p.drawn {
		_, _ = fmt.Fprint(p.out, eraseLine)
	}
}

// bar is such as "[=======>    ]  25% 1MiB of 4MiB".
func bar(fetched, total int64) string {
	if total <= 0 {
		return amounts(fetched, total)
	}
	share := min(float64(fetched)/float64(total), 1)
	full := int(share * barWidth)
	drawn := strings.Repeat("=", full)
	if full < barWidth {
		drawn += ">" + strings.Repeat(" ", barWidth-full-1)
	}
	return fmt.Sprintf("[%s] %3.0f%% %s", drawn, share*100, amounts(fetched, total))
}

func amounts(fetched, total int64) string {
	text := bytesOf(fetched)
	if text == "" {
		text = "0B"
	}
	if total > 0 {
		text += " of " + bytesOf(total)
	}
	return text
}
