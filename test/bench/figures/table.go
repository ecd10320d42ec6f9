package figures

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Table is all figures and the ratios for people.
func (f *Figures) Table() string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, figure := range f.names {
		fmt.Fprintf(t, "%s\truns\tp50\tp99\t× ctr\t× docker\t\n", figure)
		for _, contender := range f.contenders(figure) {
			s := f.summary(figure, contender)
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t\n", contender, s.Runs, shown(figure, s.P50), shown(figure, s.P99), ratio(s.VsCtr), ratio(s.VsDocker))
		}
		fmt.Fprintln(t, "\t\t\t\t\t\t")
	}
	fmt.Fprintln(t, "ratio\tis\t\tmust be\t\t\t")
	for _, bar := range Bars {
		is := bar.of(f)
		fmt.Fprintf(t, "%s\t%s\t\t%s\t%s\t\t\n", bar.Key, ratio(is), bar.limit(), bar.verdict(is))
	}
	_ = t.Flush() // writing to memory does not fail
	return b.String()
}

func (b Bar) limit() string {
	switch {
	case b.Limit == 0:
		return "-"
	case b.Least:
		return fmt.Sprintf("at least %g", b.Limit)
	}
	return fmt.Sprintf("at most %g", b.Limit)
}

func (b Bar) verdict(is *float64) string {
	switch {
	case is == nil:
		return "not measured"
	case b.Limit == 0:
		return ""
	case b.Holds(*is):
		return "holds"
	}
	return "MISSED"
}

// shown is a value in the unit that a figure's name tells.
func shown(figure string, v float64) string {
	switch {
	case strings.HasPrefix(figure, "starts per second"):
		return fmt.Sprintf("%.1f/s", v)
	case strings.HasPrefix(figure, "bytes"):
		return fmt.Sprintf("%.2f MB", v/1e6)
	case strings.HasPrefix(figure, "CPU"):
		return fmt.Sprintf("%.3f ms/s", 1000*v)
	}
	return fmt.Sprintf("%.2f ms", 1000*v)
}

func ratio(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.3f", *v)
}
