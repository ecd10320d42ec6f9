package dyno

// Found is what a restarted agent finds of one id.
type Found struct {
	Record     *Record // nil: none, or unreadable
	Unreadable bool    // there is a record that this version cannot read
	SameBoot   bool    // the record's newest life began in this boot of the host
	Secret     bool    // the order's secret part is still on tmpfs
	Container  Container
	Leftovers  bool // a network, mount or container is there
}

// Container is what containerd says of one id.
type Container int

// A Created container has not been started yet.
const (
	NoContainer Container = iota
	Created
	Running
	Exited
)

// Action is what recovery does with one id.
type Action int

// The actions.
const (
	LeaveAlone Action = iota // touch nothing, report it
	Collect                  // no record: remove what is there
	Adopt                    // go on watching it
	Boot                     // begin (again) with this life: its command has certainly not run
	Finish                   // write down its end, as lost unless it was being stopped
	Settle                   // its end is written down: clean up and wait to be forgotten
)

// Decide is the whole recovery rule.
func Decide(f Found) Action {
	switch {
	case f.Unreadable:
		return LeaveAlone
	case f.Record == nil:
		return Collect
	case f.Record.Ended():
		return Settle
	case !f.SameBoot, f.Record.waits() && !f.Secret:
		return Finish
	case f.Record.Phase == Crashed:
		return Boot
	case f.Record.waits() && f.Container != Running:
		return Boot
	case f.Container == Running || f.Container == Exited:
		return Adopt
	default:
		return Finish
	}
}

// waits says that the command of the record's newest life has not been launched: the order's secret part is needed.
func (r Record) waits() bool {
	return r.Phase == Crashed || r.Phase == Starting && r.Started.IsZero()
}

func (a Action) String() string {
	return [...]string{"leave alone", "collect", "adopt", "boot", "finish", "settle"}[a]
}
