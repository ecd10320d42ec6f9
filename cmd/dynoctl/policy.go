package main

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// crashPolicy is a policy in words: "none", or "start again after 0s, 20m, 40m; reset when up for 10m".
func crashPolicy(p *dynodv1.RestartPolicy) string {
	switch {
	case p == nil:
		return ""
	case p.GetKind() != dynodv1.RestartPolicy_KIND_BACKOFF:
		return "none"
	}
	delays := make([]string, 0, len(p.GetDelays()))
	for _, d := range p.GetDelays() {
		delays = append(delays, span(d))
	}
	return fmt.Sprintf("start again after %s; reset when up for %s", strings.Join(delays, ", "), span(p.GetResetAfter()))
}

// span leaves out the zeroes at the end: 5m0s is 5m.
func span(d *durationpb.Duration) string {
	text := d.AsDuration().String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// yes is "yes", or nothing.
func yes(is bool) string {
	if is {
		return "yes"
	}
	return ""
}
