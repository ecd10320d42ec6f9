package figures

// Bar is a ratio, and what the project holds it to.
type Bar struct {
	Key   string
	Limit float64 // 0: the ratio is only told
	Least bool    // the ratio must not be below the limit; otherwise not above
	of    func(*Figures) *float64
}

// Bars are all ratios.
var Bars = []Bar{
	{"warm_start_vs_ctr", 0.05, false, medians(Main, Warm, Ctr)},
	{"warm_start_vs_docker", 0.015, false, medians(Main, Warm, Docker)},
	{"cold_runc_vs_ctr", 0.85, false, medians(Main, Cold, Ctr)},
	{"cold_vs_docker", 0, false, medians(Main, Cold, Docker)},
	{"warm_p99_vs_p50", 1.75, false, spread(Main, Warm)},
	{"cold_p99_vs_p50", 1.75, false, spread(Main, Cold)},
	{"starts64_warm_vs_ctr", 15, true, medians(At64, Warm, Ctr)},
	{"starts64_cold_vs_ctr", 1.4, true, medians(At64, Cold, Ctr)},
	{"starts64_cold_vs_docker", 4.5, true, medians(At64, Cold, Docker)},
	{"stop_vs_docker", 0.10, false, worst(Stop, Docker)},
	{"idle_memory_vs_ctr", 0.45, false, worst(Idle200, Ctr)},
	{"start200_vs_start1", 1.15, false, between(Main200, MainOf1)},
	{"recovery200_seconds", 0.5, false, func(f *Figures) *float64 { return f.Of(Recovery, Cold).median() }},
	{"slug_first_vs_apply", 0.5, false, unpacking(First, Apply)},
	{"slug_zstd_first_vs_apply", 0, false, unpacking(FirstZstd, ApplyZstd)},
	{"slug_second_vs_empty", 1.1, false, between(Second, Empty)},
}

// Ratios are all ratios by key; nil where something was not measured.
func (f *Figures) Ratios() map[string]*float64 {
	ratios := map[string]*float64{}
	for _, b := range Bars {
		ratios[b.Key] = b.of(f)
	}
	return ratios
}

// Holds says whether a ratio is what it must be.
func (b Bar) Holds(ratio float64) bool {
	if b.Least {
		return ratio >= b.Limit
	}
	return b.Limit == 0 || ratio <= b.Limit
}

func medians(figure, contender, other string) func(*Figures) *float64 {
	return func(f *Figures) *float64 { return f.over(figure, contender, other) }
}

func unpacking(first, apply string) func(*Figures) *float64 {
	return func(f *Figures) *float64 { return divide(f.Of(first, Warm).median(), f.Of(apply, Ctr).median()) }
}

func spread(figure, contender string) func(*Figures) *float64 {
	return func(f *Figures) *float64 {
		s := f.Of(figure, contender)
		return divide(s.at(0.99), s.median())
	}
}

// worst compares another's figure with ours, and gives the worse of cold and warm starts.
func worst(figure, other string) func(*Figures) *float64 {
	return func(f *Figures) *float64 { return higher(f.over(figure, Cold, other), f.over(figure, Warm, other)) }
}

// between compares two figures of ours in the same way.
func between(figure, base string) func(*Figures) *float64 {
	return func(f *Figures) *float64 {
		of := func(ours string) *float64 { return divide(f.Of(figure, ours).median(), f.Of(base, ours).median()) }
		return higher(of(Cold), of(Warm))
	}
}

// higher is the other one where one is nil.
func higher(a, b *float64) *float64 {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}
