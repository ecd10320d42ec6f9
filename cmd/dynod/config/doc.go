// Package config reads the settings of dynod.
//
// One table (settings.go) names every setting with its default, its bounds and the sentence that explains it; the
// files, the environment, the flags, the default file and the reference page all come from that table. A later source
// wins over an earlier one:
//
//	defaults, /etc/dynod/config.toml, conf.d/*.toml in name order, DYNOD_SECTION_KEY, --section.key=value
//
// A list replaces the list before it; sizes and stacks are added by name. Nothing is ignored silently: an unknown key
// and a bad value are errors that name file, line, column and key, and all of them are reported at once.
//
// The package never starts anything and knows no other part of dynod.
package config
