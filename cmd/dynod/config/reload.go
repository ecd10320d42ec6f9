package config

import (
	"maps"
	"slices"
)

// Reload is what an agent that runs with c runs with after it has read next: the settings that may change meanwhile are
// next's, the others c's. Applied and kept are the keys of both kinds that differ. A size that is new is usable at once,
// and one that is not in next any more goes with the next start.
func (c Config) Reload(next Config) (merged Config, applied, kept []string) {
	have, want := loaderOf(c), loaderOf(next)
	for name := range want.sizes {
		if have.sizes[name] == nil {
			have.addSize(name, Size{})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want.rows)) {
		old, fresh := have.rows[key], want.rows[key]
		switch {
		case old == nil:
			kept = append(kept, key)
		case old.value.toml() == fresh.value.toml():
		case old.live:
			old.value.take(fresh.value)
			applied = append(applied, key)
		default:
			kept = append(kept, key)
		}
	}
	for _, key := range have.keys() {
		if want.rows[key] == nil {
			kept = append(kept, key)
		}
	}
	have.gather()
	return *have.cfg, applied, kept
}
