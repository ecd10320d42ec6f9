package cloud

import (
	"net/netip"
	"time"
)

// State is what the provider says now.
type State struct {
	Instance Instance
	Notices  []Notice // by kind, in the order of the provider
}

// Instance is the machine as its provider knows it.
type Instance struct {
	ID              string // empty: not known yet
	Type            string
	Region, Zone    string
	Image, Account  string
	Lifecycle       string // on-demand, spot, scheduled or capacity-block
	Private, Public netip.Addr
	IPv6            netip.Addr
	Tags            map[string]string // empty unless the instance shows them in its metadata
}

// Kind is what a notice is about.
type Kind string

// The kinds.
const (
	Interruption Kind = "spot_interruption" // the provider takes a spot instance back
	Rebalance    Kind = "rebalance"         // it may do so soon
	Maintenance  Kind = "maintenance"       // a scheduled event
	Lifecycle    Kind = "lifecycle"         // its scaling group takes the instance out of service
)

// Notice announces what will happen to the host. It stands until the provider takes it back.
type Notice struct {
	Kind   Kind
	ID     string    // tells it from every other notice
	Action string    // in the provider's words, such as terminate, system-reboot or Standby
	Due    time.Time // when it begins at the earliest, UTC; zero: not said
	Text   string    // the provider's description, if any
}
