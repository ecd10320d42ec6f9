package agent

import (
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/logs"
)

// NameReceivers tells where the lines of an earlier agent's dynos go, as their records say. It must return before lines are
// trimmed: those that only a receiver without a name still needs would go.
func (a *Agent) NameReceivers() error {
	entries, err := a.Store.Load()
	for _, e := range entries {
		if e.Err == nil {
			a.nameReceivers(a.cfg.Host, e.Record)
		}
	}
	return err
}

// nameReceivers tells where the dyno's lines go. An order was checked before: what fails here is no reason to end it.
func (p Parts) nameReceivers(host string, rec dyno.Record) {
	var receivers []logs.Receiver
	for _, s := range rec.Spec.Secret.LogSinks {
		receivers = append(receivers, logs.Receiver{URL: s.URL, Token: s.Token})
	}
	if receivers == nil {
		return
	}
	if err := p.Logs.SetReceivers(rec.ID, logs.Origin{Host: host, Process: rec.Spec.Name}, receivers); err != nil {
		p.Log.Error("name log receivers", "dyno", rec.ID, "err", err)
	}
}
