package dyno

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// spans are what the load is averaged over, each shown once the dyno is so old.
var spans = [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute}

// Load is how many threads of a dyno run or wait for a CPU, on average: damped exponentially, as the kernel does it for
// a host, but over the time since its beginning alone, so that a young one does not seem idle.
type Load struct {
	last         time.Time
	sums, weight [len(spans)]float64
}

// NewLoad is the load of a dyno that nothing is known of before at.
func NewLoad(at time.Time) Load { return Load{last: at} }

// Count is the load when so many threads run at a later moment.
func (l Load) Count(running int, at time.Time) Load {
	elapsed := at.Sub(l.last)
	l.last = at
	for i, span := range spans {
		keep := math.Exp(-elapsed.Seconds() / span.Seconds())
		l.sums[i] = l.sums[i]*keep + float64(running)*(1-keep)
		l.weight[i] = l.weight[i]*keep + 1 - keep
	}
	return l
}

func (l Load) average(i int) float64 {
	if l.weight[i] == 0 {
		return 0
	}
	return l.sums[i] / l.weight[i]
}

// LinesMetrics are runtime metrics in Heroku's format. No other line of the platform begins with "source=".
func (r Record) LinesMetrics(m Memory, l Load, at time.Time) []string {
	head := fmt.Sprintf("source=%s dyno=heroku.%s.%s", r.Spec.Name, or(r.Spec.Metadata.AppID, r.Spec.App), r.ID)
	return []string{
		head + l.samples(at.Sub(r.Started)),
		head + fmt.Sprintf(" sample#memory_total=%s sample#memory_rss=%s sample#memory_cache=%s sample#memory_swap=%s"+
			" sample#memory_pgpgin=%dpages sample#memory_pgpgout=%dpages sample#memory_quota=%s",
			megabytes(m.Total()), megabytes(m.RSS), megabytes(m.Cache), megabytes(m.Swap), m.PagesIn, m.PagesOut, megabytes(r.Spec.Limits.Memory)),
	}
}

func (l Load) samples(age time.Duration) string {
	var b strings.Builder
	for i, span := range spans {
		if i == 0 || age >= span {
			fmt.Fprintf(&b, " sample#load_avg_%dm=%.2f", int(span.Minutes()), l.average(i))
		}
	}
	return b.String()
}

// megabytes are of 1024 KiB, as in the names of the sizes.
func megabytes(n int64) string { return fmt.Sprintf("%.2fMB", float64(n)/(1<<20)) }
