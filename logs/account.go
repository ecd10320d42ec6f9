package logs

import "time"

// Account is what came in and where it went since the agent began, over all dynos, those that are gone too.
type Account struct {
	Connected bool                   // to capture
	Captured  int64                  // bytes that dynos and the platform have written, with those that were dropped
	Sinks     map[string]SinkAccount // by kind
	Backlog   Backlog
}

// The kinds of sinks.
const (
	Upstream = "upstream"
	Logplex  = "logplex"
	Syslog   = "syslog"
)

// SinkAccount is the account of all sinks of one kind.
type SinkAccount struct {
	SinkStats
	Receivers int       // that there are now
	Oldest    time.Time // of the lines that are under way; zero: none is
}

// Account is cheap: it looks at no file.
func (l *Logs) Account() Account {
	a := Account{Sinks: map[string]SinkAccount{Logplex: {}, Syslog: {}}, Backlog: l.Backlog()}
	l.mu.Lock()
	defer l.mu.Unlock()
	a.Connected, a.Captured = l.client != nil, l.gone.captured
	for kind, stats := range l.gone.sinks {
		a.Sinks[kind] = SinkAccount{SinkStats: stats}
	}
	for _, d := range l.dynos {
		a.Captured += d.captured()
		for _, dr := range d.drains {
			sum := a.Sinks[dr.out.kind()]
			sum.add(dr)
			a.Sinks[dr.out.kind()] = sum
		}
	}
	a.Sinks[Upstream] = SinkAccount{SinkStats: l.stats.stats(), Receivers: 1}
	if at := l.lag.Load(); at != nil {
		a.Sinks[Upstream] = SinkAccount{l.stats.stats(), 1, *at}
	}
	return a
}

func (a *SinkAccount) add(dr *drain) {
	a.SinkStats = a.plus(dr.stats.stats())
	a.Receivers++
	if at := dr.oldest(); !at.IsZero() && (a.Oldest.IsZero() || at.Before(a.Oldest)) {
		a.Oldest = at
	}
}

// oldest is of the lines that are under way; zero: none is.
func (dr *drain) oldest() time.Time {
	dr.mu.Lock()
	defer dr.mu.Unlock()
	if dr.load == nil {
		return time.Time{}
	}
	return dr.load.since
}

// DynoSink is the account of one sink of a dyno. Of the upstream only what waits is counted for each.
type DynoSink struct {
	Kind   string
	Number int // of a receiver, from 1, in the order of SetReceivers; 0: the upstream
	SinkStats
	Waiting int64     // bytes of the streams; of holes those that came since the agent began
	Oldest  time.Time // of the lines that are under way; zero: none is
}

// Sinks is the accounts of a dyno's sinks, the upstream first; none of a dyno that is not known.
func (l *Logs) Sinks(id string) []DynoSink {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dynos[id]
	if d == nil {
		return nil
	}
	up := DynoSink{Kind: Upstream}
	for _, s := range d.streams {
		up.Waiting += s.backlog()
	}
	all := []DynoSink{up}
	for _, dr := range d.drains {
		all = append(all, DynoSink{dr.out.kind(), dr.n, dr.stats.stats(), dr.waiting(), dr.oldest()})
	}
	return all
}

// waiting is how many bytes the receiver has not got. The caller holds Logs.mu.
func (dr *drain) waiting() (n int64) {
	dr.mu.Lock()
	defer dr.mu.Unlock()
	for _, s := range dr.d.streams {
		n += s.ahead(dr.done.Cursor[s.Stream], dr.absent[s.Stream])
	}
	return n
}

func (s SinkStats) plus(t SinkStats) SinkStats {
	return SinkStats{s.Batches + t.Batches, s.Lines + t.Lines, s.Bytes + t.Bytes, s.Errors + t.Errors, s.Dropped + t.Dropped, s.Lost + t.Lost}
}

// past is the account of dynos that are gone.
type past struct {
	captured int64
	sinks    map[string]SinkStats
}

// bury takes a dyno that goes into the account. The caller holds Logs.mu.
func (p *past) bury(d *dyno) {
	p.captured += d.captured()
	for _, dr := range d.drains {
		p.sinks[dr.out.kind()] = p.sinks[dr.out.kind()].plus(dr.stats.stats())
	}
}

// captured is how many bytes were written since the dyno is known here. The caller holds Logs.mu.
func (d *dyno) captured() (n int64) {
	for _, s := range d.streams {
		n += s.end - s.found
	}
	return n
}
