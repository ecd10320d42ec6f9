package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/dynod/dynod/test/exact/numbered"
)

// clock says when it speaks, until ctx ends. Its pauses are of any length, so that nothing that happens regularly falls in
// with them.
func clock(ctx context.Context) (told Told, err error) {
	for err == nil {
		select {
		case <-ctx.Done():
			return told, nil
		case <-time.After(rand.N(50 * time.Millisecond)):
			var n int
			n, err = fmt.Fprintln(os.Stdout, time.Now().UnixNano())
			told.Stdout = numbered.Count{Lines: told.Stdout.Lines + 1, Bytes: told.Stdout.Bytes + int64(n)}
		}
	}
	return told, fmt.Errorf("tell the time: %w", err)
}
