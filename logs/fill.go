package logs

import "time"

// readAgain is the pause after a spool could not be read.
const readAgain = 100 * time.Millisecond

// fill reads into the batch, every waiting dyno in its turn, until there is no more or it is full. What comes within
// the next moment is read at once then.
func (s *shipper) fill() {
	for s.rest == nil && !s.batch.full() {
		st, quantum, end := s.pop()
		if st == nil {
			s.rest = time.After(rest)
			break
		}
		s.take(st, quantum, end)
	}
	if s.due == nil && len(s.batch.runs) > 0 {
		s.due = time.After(linger)
	}
}

// pop gives the stream whose turn it is, nil if none waits, how many bytes it may bring, and where it ends.
func (s *shipper) pop() (st *stream, quantum int, end int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if st, quantum = s.turns.pop(); st == nil {
			return nil, 0, 0
		}
		switch st.news = false; {
		case st.dyno.removed:
			s.sources[st].close()
			delete(s.sources, st)
		case st.barred: // since it got its turn; it gets another one afterwards
			st.queued = false
		default:
			return st, quantum, st.end
		}
	}
}

// take reads one turn of a stream into the batch. What the platform says beyond the end has come after the turn was given, and
// maybe after the app's last words: it has its own turn, behind them.
func (s *shipper) take(st *stream, quantum int, end int64) {
	src, b, more := s.source(st), s.batch, true
	before, full := b.bytes, b.used+quantum
	for more && b.used < full {
		most := full - b.used
		if st.Stream == Platform {
			most = int(min(int64(most), max(0, end-src.reader.Offset())))
		}
		first, err := len(b.runs), error(nil)
		if b.runs, more, err = src.read(b.runs, b.text[b.used:], most); st.unread.begins(err) {
			s.log.Warn("part of a spool is unreadable", "dyno", st.Dyno, "stream", st.Stream.String(), "error", err)
		}
		if err != nil {
			s.again(st)
		}
		b.measure(first)
	}
	s.endTurn(st, b.bytes-before, more)
}

// again gives a stream that could not be read another turn in a while: the trouble may be the whole host's, as when it
// is out of descriptors, and then stays.
func (s *shipper) again(st *stream) {
	time.AfterFunc(readAgain, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.enqueue(st)
	})
}

// endTurn sends a stream with more to the end of the line; what has just come counts as coming.
func (s *shipper) endTurn(st *stream, cost int, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.dyno.charge(time.Now(), cost)
	st.queued = more || st.news
	if st.dyno.read(cost, st.queued); st.queued {
		s.turns.push(st, !more)
	}
}

func (s *shipper) source(st *stream) *source {
	if s.sources[st] == nil {
		s.mu.Lock()
		from := st.acked
		s.mu.Unlock()
		s.sources[st] = newSource(s.dir(st.Dyno), st.Key, from)
	}
	return s.sources[st]
}
