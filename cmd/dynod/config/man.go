package config

import (
	"fmt"
	"strings"
)

const manHead = `% DYNOD.TOML 5
# NAME
dynod.toml - settings of dynod

# SYNOPSIS
` + DefaultFile + `

/etc/dynod/conf.d/*.toml

# DESCRIPTION
The file is TOML. A later source of settings wins over an earlier one: defaults; the file, or the one that
**--config** or **` + fileVariable + `** names; the files in conf.d beside it, in the order of their names; the
environment, **DYNOD_SECTION_KEY**; flags, **--section.key=value**.
A list replaces the list of an earlier source; sizes, policies and stacks are added by name.

Sizes of memory and disk are written "512MiB", "2GiB" (powers of 1024) or as plain bytes, durations "30s", "5m", "1h30m".
Unknown keys and bad values are refused, all at once, and **dynod** leaves with status 78; **dynod config check** finds them
beforehand.
`

const manTail = `
# SEE ALSO
**dynod**(8), **dynoctl**(1)
`

// ManPage is dynod.toml(5) in Markdown as md2man reads it.
func ManPage() string {
	var b strings.Builder
	b.WriteString(manHead)
	for _, section := range tables() {
		title := "SETTINGS AT THE TOP"
		if section.name != "" {
			title = "[" + section.name + "]"
		}
		fmt.Fprintf(&b, "\n# %s\n%s\n", title, section.doc)
		manRows(&b, section.rows)
		if section.name == "network.policies" {
			manRows(&b, policySettings("NAME", &Policy{}))
		}
	}
	manRows(&b, sizeSettings("NAME", new(newSize())))
	b.WriteString(manTail)
	return b.String()
}

func manRows(b *strings.Builder, rows []*setting) {
	for _, s := range rows {
		fmt.Fprintf(b, "\n**%s** = %s\n: %s\n", s.name(), s.value.toml(), s.usage())
	}
}
