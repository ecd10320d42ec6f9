package doctor

import (
	"context"

	"github.com/dynod/dynod/cmd/dynod/doctor/report"
)

// Look makes one check.
func Look(ctx context.Context, h Host, name string) []report.Finding {
	for _, c := range checks {
		if c.name == name {
			return <-c.begin(ctx, h)
		}
	}
	return nil
}

// Hang makes a check that never ends.
func Hang(ctx context.Context, until <-chan struct{}) []report.Finding {
	return <-check{"hanging", func(Host, context.Context, *report.Notes) { <-until }}.begin(ctx, Host{})
}

// AtLeast and Shares are open to the tests, which are outside of the package.
var AtLeast = atLeast

// Shares looks at a file of ids as at /etc/subuid.
func Shares(h Host, file string) []report.Finding {
	n := report.Notes{Check: "user ids"}
	h.checkShares(&n, file)
	return n.All
}
