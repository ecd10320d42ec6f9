package agent

import "github.com/dynod/dynod/logs"

// nameReceivers tells where the dyno's lines go. An order was checked before: what fails here is no reason to end it.
func (r *runner) nameReceivers() {
	spec := r.rec.Spec
	var receivers []logs.Receiver
	for _, s := range spec.Secret.LogSinks {
		receivers = append(receivers, logs.Receiver{URL: s.URL, Token: s.Token})
	}
	if receivers == nil {
		return
	}
	if err := r.Logs.SetReceivers(r.rec.ID, logs.Origin{Host: r.cfg.Host, Process: spec.Name}, receivers); err != nil {
		r.log.Error("name log receivers", "err", err)
	}
}
