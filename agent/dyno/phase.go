package dyno

import (
	"fmt"
	"slices"
)

// Phase is where a dyno stands in its life.
type Phase string

// The phases. Down and Complete are ends; Crashed is one unless a next start is set.
const (
	Starting Phase = "starting"
	Up       Phase = "up"
	Stopping Phase = "stopping" // inside only: owners read the phase it was stopped from
	Down     Phase = "down"
	Crashed  Phase = "crashed"
	Complete Phase = "complete"
)

// Phases are all of them.
var Phases = []Phase{Starting, Up, Stopping, Down, Crashed, Complete}

// follows lists for each phase the ones that may come next.
var follows = map[Phase][]Phase{
	Starting: {Up, Stopping, Crashed, Complete, Down},
	Up:       {Stopping, Crashed, Complete, Down},
	Stopping: {Down},
	Crashed:  {Starting, Down},
}

func (p Phase) mayBecome(next Phase) error {
	if !slices.Contains(follows[p], next) {
		return fmt.Errorf("phase %s cannot follow %s", next, p)
	}
	return nil
}
