package main

import (
	"github.com/dynod/dynod/agent"
)

// reloader puts changed settings in force in an agent that runs. One goroutine uses it.
type reloader struct {
	service
	agent *agent.Agent
	doors doors
}

// reload reads the settings again. Whatever is wrong with them is logged, and nothing changes.
func (r *reloader) reload() {
	applied, kept, err := r.apply()
	if err != nil {
		r.log.Error("settings are refused; the old ones stay in force", "err", err)
		return
	}
	r.log.Info("settings read again", "applied", applied)
	if len(kept) > 0 {
		r.log.Warn("changed settings wait for a restart of the agent", "settings", kept)
	}
}

// apply changes nothing before all that may fail is behind it.
func (r *reloader) apply() (applied, kept []string, err error) {
	next, err := r.load()
	if err != nil {
		return nil, nil, err
	}
	merged, applied, kept := r.cfg.Reload(next)
	guards, err := newGuards(merged)
	if err != nil {
		return nil, nil, err
	}
	settings, err := agentConfig(merged, "")
	if err != nil {
		return nil, nil, err
	}
	r.level.Set(merged.Log.Level)
	r.doors.guard(guards)
	r.agent.Reload(settings)
	r.cfg = merged
	return applied, kept, nil
}
