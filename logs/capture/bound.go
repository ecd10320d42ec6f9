package capture

import (
	"math"
	"time"
)

const (
	// recount is the least time between two looks at the disk: the agent removes files without telling. It is also how
	// long a spool that took no byte is left alone: one hole instead of many.
	recount = 50 * time.Millisecond
	// burst is for how long a dyno that was quiet before may say more than its rate allows, in times of that rate.
	burst = 4
)

// quota is a dyno's part of the spool. Once it is used up it stays so for a while: one hole instead of many.
type quota struct {
	limit   int64 // bytes in the spool
	step    int64 // of them free before there is room again
	used    int64
	full    bool
	checked time.Time

	rate   int64 // bytes a second; 0: any
	tokens int64
	filled time.Time
	dry    bool
}

// room is how many bytes the dyno may write now, if its host has room for limit bytes of it. It may not be known: then
// counted is to be told first.
func (q *quota) room(now time.Time, limit int64) (n int64, known bool) {
	n, known = q.space(now, limit)
	return min(n, q.allowance(now)), known
}

// space is what is left of the dyno's part of the spool.
func (q *quota) space(now time.Time, limit int64) (n int64, known bool) {
	limit = min(limit, q.limit)
	switch {
	case !q.checked.IsZero() && !q.full && q.used < limit:
		return limit - q.used, true
	case now.Sub(q.checked) >= recount:
		return 0, false
	case q.full:
		return 0, true
	}
	return max(0, limit-q.used), true
}

// counted says what the dyno has in the spool; -1: it could not be seen.
func (q *quota) counted(used int64, now time.Time, limit int64) {
	if used >= 0 {
		q.used = used
	}
	limit = min(limit, q.limit)
	q.checked, q.full = now, q.used > limit-min(q.step, limit/4)
}

// allowance is what the dyno may write at its rate: a token bucket.
func (q *quota) allowance(now time.Time) int64 {
	if q.rate <= 0 {
		return math.MaxInt64
	}
	if q.filled.IsZero() {
		q.tokens, q.filled = burst*q.rate, now
	}
	past := min(max(0, now.Sub(q.filled)), burst*time.Second)
	if more := int64(past.Seconds() * float64(q.rate)); more > 0 {
		q.tokens, q.filled = min(burst*q.rate, q.tokens+more), now
	}
	q.dry = q.tokens <= 0 || q.dry && q.tokens < q.rate
	if q.dry {
		return 0
	}
	return q.tokens
}

// spent takes n bytes, which are to be written, from the rate and the space.
func (q *quota) spent(n int64) {
	q.tokens -= n
	q.used += n
	q.dry = q.dry || q.tokens <= 0 // or the dyno would wait for the few bytes that each round allows
}

// grew says that the files grew by n bytes that were not spent.
func (q *quota) grew(n int64) { q.used += n }
