package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const fileHead = `# Settings of dynod. A line that is commented out shows a default.
# Sizes of memory and disk: "512MiB", "2GiB" (powers of 1024), or plain bytes. Durations: "30s", "5m", "1h30m".
# Read after this file: *.toml in conf.d beside it, in the order of their names; the environment, DYNOD_SECTION_KEY;
# flags, --section.key=value. "dynod config check" tells what is wrong; docs/configuration.md has it all.
`

// DefaultTOML is the default file: every key with its meaning and its default, all of them commented out, so that a
// later version's defaults reach hosts that did not ask for other values.
func DefaultTOML() string {
	var b strings.Builder
	b.WriteString(fileHead)
	for _, section := range tables() {
		fmt.Fprintf(&b, "\n# %s\n", section.doc)
		if section.name != "" {
			fmt.Fprintf(&b, "[%s]\n", section.name)
		}
		for _, s := range section.rows {
			fmt.Fprintf(&b, "\n# %s\n#%s = %s\n", s.usage(), s.name(), s.value.toml())
		}
		if section.name == "network.policies" {
			policiesTOML(&b)
		}
	}
	sizesTOML(&b)
	return b.String()
}

func policiesTOML(b *strings.Builder) {
	for _, s := range policySettings("", &Policy{}) {
		fmt.Fprintf(b, "# %s: %s\n", s.name(), s.usage())
	}
	for name, policy := range Default().Network.Policies {
		fmt.Fprintf(b, "\n[network.policies.%s]\n", name)
		for _, s := range policySettings(name, &policy) {
			fmt.Fprintf(b, "#%s = %s\n", s.name(), s.value.toml())
		}
	}
}

// sizesTOML explains the keys of a size once and then shows them for every size.
func sizesTOML(b *strings.Builder) {
	for _, s := range sizeSettings("", &Size{}) {
		fmt.Fprintf(b, "# %s: %s\n", s.name(), s.usage())
	}
	sizes := Default().Sizes
	for _, name := range sizesByMemory(sizes) {
		size := sizes[name]
		fmt.Fprintf(b, "\n[sizes.%s]\n", name)
		for _, s := range sizeSettings(name, &size) {
			fmt.Fprintf(b, "#%s = %s\n", s.name(), s.value.toml())
		}
	}
}

const referenceHead = `# Settings of dynod

<!-- Written by "dynod config reference"; change cmd/dynod/config/settings.go instead. -->

A later source wins over an earlier one:

1. the defaults below;
2. ` + "`" + DefaultFile + "`" + `, or the file named by ` + "`--config` or `" + fileVariable + "`" + `, which then has to exist;
3. ` + "`*.toml`" + ` in ` + "`conf.d`" + ` beside that file, in the order of their names;
4. the environment: ` + "`DYNOD_SECTION_KEY`" + ` (lists with commas between the items, tables as ` + "`name=value,name=value`" + `);
5. flags: ` + "`--section.key=value`" + `, written like the environment.

A list replaces the list of an earlier source; sizes and stacks are added by name. Sizes of memory and disk are
` + "`\"512MiB\"`, `\"2GiB\"`" + ` (powers of 1024) or plain bytes, durations ` + "`\"30s\"`, `\"5m\"`, `\"1h30m\"`" + `. Unknown keys and bad values are
refused, all at once, and dynod leaves with status 78. ` + "`dynod config check`" + ` finds them beforehand;
` + "`dynod config default`" + ` prints a file to start from.

On SIGHUP (` + "`systemctl reload dynod`" + `) the agent reads all sources again. Settings marked under reload take effect, for connections,
orders and dynos that come from then on; a change of another one is named in the log and waits for a restart. If anything is
wrong, that is logged, and nothing changes. Certificates are read again at each handshake in any case.
`

// Reference is the page of all settings, Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, section := range tables() {
		title := cmp.Or(section.name, "top of the file")
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", title, section.doc)
		if len(section.rows) > 0 {
			writeRows(&b, section.rows)
		}
		if section.name == "network.policies" {
			writeRows(&b, policySettings("NAME", &Policy{}))
		}
	}
	writeRows(&b, sizeSettings("NAME", new(newSize())))
	sizesTable(&b)
	return b.String()
}

func writeRows(b *strings.Builder, rows []*setting) {
	b.WriteString("\n| key | allowed | default | reload | meaning |\n|---|---|---|---|---|\n")
	for _, s := range rows {
		fmt.Fprintf(b, "| `%s` | %s | `%s` | %s | %s |\n", s.name(), s.value.allowed(), s.value.toml(), yes(s.live), s.doc)
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func sizesTable(b *strings.Builder) {
	b.WriteString("\n| size |")
	for _, s := range sizeSettings("", &Size{}) {
		fmt.Fprintf(b, " %s |", s.name())
	}
	b.WriteString("\n|" + strings.Repeat("---|", 1+len(sizeSettings("", &Size{}))) + "\n")
	sizes := Default().Sizes
	for _, name := range sizesByMemory(sizes) {
		size := sizes[name]
		fmt.Fprintf(b, "| %s |", name)
		for _, s := range sizeSettings(name, &size) {
			fmt.Fprintf(b, " %s |", strings.Trim(s.value.toml(), `"`))
		}
		b.WriteString("\n")
	}
}

// table is one section with its settings.
type table struct {
	name, doc string
	rows      []*setting
}

// tables cuts the table of a default configuration into sections; the sizes come last and without rows.
func tables() []table {
	c := Default()
	all := c.settings()
	out := make([]table, 0, len(sections))
	for _, section := range sections {
		t := table{name: section.name, doc: section.doc}
		for _, s := range all {
			if s.section() == section.name {
				t.rows = append(t.rows, s)
			}
		}
		out = append(out, t)
	}
	return out
}

func sizesByMemory(sizes map[string]Size) []string {
	return slices.SortedFunc(maps.Keys(sizes), func(a, b string) int {
		return cmp.Or(cmp.Compare(sizes[a].Memory, sizes[b].Memory), cmp.Compare(a, b))
	})
}
