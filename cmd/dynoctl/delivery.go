package main

import (
	"fmt"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// deliveries is a fact for each place where log lines go: "Logs to logplex 1: 20 lines delivered, 5 dropped (L12)".
func deliveries(all []*dynodv1.LogDelivery) (f facts) {
	for _, d := range all {
		name := "Logs to " + d.GetKind()
		if d.GetNumber() > 0 {
			name += fmt.Sprint(" ", d.GetNumber())
		}
		f = append(f, [2]string{name, delivery(d)})
	}
	return f
}

// delivery leaves out what did not happen.
func delivery(d *dynodv1.LogDelivery) string {
	var parts []string
	for _, count := range []struct {
		n    int64
		what string
	}{
		{d.GetDeliveredLines(), "lines delivered"},
		{d.GetDroppedLines(), "dropped (L12)"},
		{d.GetLostLines(), "refused or given up (L13)"},
		{d.GetFailures(), "attempts failed"},
		{d.GetWaitingBytes(), "bytes wait"},
	} {
		if count.n != 0 {
			parts = append(parts, fmt.Sprint(count.n, " ", count.what))
		}
	}
	if d.GetOldestAt() != nil {
		parts = append(parts, "the oldest under way is of "+stamp(d.GetOldestAt()))
	}
	if len(parts) == 0 {
		return "nothing waits"
	}
	return join(", ", parts...)
}
