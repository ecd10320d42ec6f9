package agenttest

import (
	"context"
	"iter"

	"github.com/dynod/dynod/agent/cloud"
)

// Cloud is a fake agent.Cloud: it says what is sent.
type Cloud chan cloud.State

// Watch yields what is sent.
func (c Cloud) Watch(ctx context.Context) iter.Seq[cloud.State] {
	return func(yield func(cloud.State) bool) {
		for {
			select {
			case s := <-c:
				if !yield(s) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
