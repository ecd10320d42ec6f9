package dyno_test

import (
	"testing"
	"time"

	"github.com/dynod/dynod/agent/dyno"
)

func TestDecide(t *testing.T) {
	rec := func(p dyno.Phase, change ...func(*dyno.Record)) *dyno.Record {
		r := &dyno.Record{Phase: p}
		for _, c := range change {
			c(r)
		}
		return r
	}
	launched := func(r *dyno.Record) { r.Started = noon }
	waiting := func(r *dyno.Record) { r.NextStart = noon.Add(time.Minute) }
	here := func(r *dyno.Record, c dyno.Container) dyno.Found {
		return dyno.Found{Record: r, SameBoot: true, Secret: true, Container: c, Leftovers: c != dyno.NoContainer}
	}
	tests := map[string]struct {
		found dyno.Found
		want  dyno.Action
	}{
		"unreadable, running":             {dyno.Found{Unreadable: true, Container: dyno.Running}, dyno.LeaveAlone},
		"no record, running":              {dyno.Found{Container: dyno.Running, Leftovers: true}, dyno.Collect},
		"no record, network":              {dyno.Found{Leftovers: true}, dyno.Collect},
		"up, running":                     {here(rec(dyno.Up, launched), dyno.Running), dyno.Adopt},
		"up, exited while away":           {here(rec(dyno.Up, launched), dyno.Exited), dyno.Adopt},
		"up, container gone":              {here(rec(dyno.Up, launched), dyno.NoContainer), dyno.Finish},
		"starting, nothing there":         {here(rec(dyno.Starting), dyno.NoContainer), dyno.Boot},
		"starting, created":               {here(rec(dyno.Starting), dyno.Created), dyno.Boot},
		"starting, init waits":            {here(rec(dyno.Starting), dyno.Running), dyno.Adopt},
		"starting, init died":             {here(rec(dyno.Starting), dyno.Exited), dyno.Boot},
		"starting, launched":              {here(rec(dyno.Starting, launched), dyno.Running), dyno.Adopt},
		"starting, launched, gone":        {here(rec(dyno.Starting, launched), dyno.NoContainer), dyno.Finish},
		"stopping, running":               {here(rec(dyno.Stopping), dyno.Running), dyno.Adopt},
		"stopping, gone":                  {here(rec(dyno.Stopping), dyno.NoContainer), dyno.Finish},
		"crashed, next life waits":        {here(rec(dyno.Crashed, waiting), dyno.NoContainer), dyno.Boot},
		"crashed, next waits, remains":    {here(rec(dyno.Crashed, waiting), dyno.Exited), dyno.Boot},
		"crashed for good":                {here(rec(dyno.Crashed), dyno.Exited), dyno.Settle},
		"down":                            {here(rec(dyno.Down), dyno.NoContainer), dyno.Settle},
		"complete, after a reboot":        {dyno.Found{Record: rec(dyno.Complete)}, dyno.Settle},
		"up before a reboot":              {dyno.Found{Record: rec(dyno.Up), Secret: true}, dyno.Finish},
		"starting, secret lost":           {dyno.Found{Record: rec(dyno.Starting), SameBoot: true}, dyno.Finish},
		"crashed, waits, before a boot":   {dyno.Found{Record: rec(dyno.Crashed, waiting), Secret: true}, dyno.Finish},
		"up, running, its secret is gone": {dyno.Found{Record: rec(dyno.Up, launched), SameBoot: true, Container: dyno.Running}, dyno.Adopt},
	}
	for name, test := range tests {
		if got := dyno.Decide(test.found); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
