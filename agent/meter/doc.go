// Package meter counts and times what happens to dynos, for operators: as metrics, and each phase of a start as a span
// of its order's trace too. It never names a dyno in a metric, and holds nothing secret.
package meter
