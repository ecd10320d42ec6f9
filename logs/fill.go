package logs

import "time"

// readAgain is the pause after a spool could not be read.
const readAgain = 100 * time.Millisecond

// fill reads into the batch, every waiting dyno in its turn, until there is no more or it is full. What comes within
// the next moment is read at once then.
func (s *shipper) fill() {
	for s.rest == nil && !s.batch.full() {
		st, quantum := s.pop()
		if st == nil {
			s.rest = time.After(rest)
			break
		}
		s.take(st, quantum)
	}
	if s.due == nil && len(s.batch.runs) > 0 {
		s.due = time.After(linger)
	}
}

// pop gives the stream whose turn it is and how many bytes it may bring, nil if none waits.
func (s *shipper) pop() (*stream, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		st, quantum := s.turns.pop()
		if st == nil {
			return nil, 0
		}
		switch st.news = false; {
		case st.dyno.removed:
			s.sources[st].close()
			delete(s.sources, st)
		case st.barred: // since it got its turn; it gets another one afterwards
			st.queued = false
		default:
			return st, quantum
		}
	}
}

// take reads one turn of a stream into the batch.
func (s *shipper) take(st *stream, quantum int) {
	src, b, more := s.source(st), s.batch, true
	before, end := b.bytes, b.used+quantum
	for more && b.used < end {
		first, err := len(b.runs), error(nil)
		if b.runs, more, err = src.read(b.runs, b.text[b.used:], end-b.used); st.unread.begins(err) {
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
	st.row += cost
	if st.queued = more || st.news; st.queued {
		s.turns.again(st, !more)
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
