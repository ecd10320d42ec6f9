package figures

import (
	"math"
	"slices"
)

// Series is one thing measured several times.
type Series []float64

// Quantile is the least measurement that is not below the part q of all, 0 < q <= 1; of nothing it is 0. With fewer
// than 100 measurements the part 0.99 is the highest one.
func (s Series) Quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// median is nil of nothing.
func (s Series) median() *float64 { return s.at(0.5) }

func (s Series) at(q float64) *float64 {
	if len(s) == 0 {
		return nil
	}
	v := s.Quantile(q)
	return &v
}

// divide gives nil where nothing can be said.
func divide(a, b *float64) *float64 {
	if a == nil || b == nil || *b == 0 {
		return nil
	}
	v := *a / *b
	return &v
}
