package agent

import (
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
)

// containerState is the runtime's word in the rule's.
func containerState(c runtime.Found) dyno.Container {
	switch c.State {
	case runtime.StateCreated:
		return dyno.Created
	case runtime.StateRunning, runtime.StateUnknown: // a task that does not answer is waited for
		return dyno.Running
	case runtime.StateExited:
		return dyno.Exited
	default:
		return dyno.NoContainer
	}
}
