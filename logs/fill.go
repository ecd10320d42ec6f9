package logs

import "time"

// readAgain is the pause after a spool could not be read.
const readAgain = 100 * time.Millisecond

// fill takes lines into the batch, every waiting dyno in its turn, until there are no more or it is full.
func (s *shipper) fill() {
	for !s.full() {
		st := s.pop()
		if st == nil {
			break
		}
		s.take(st)
	}
	if s.due == nil && len(s.batch.Lines) > 0 {
		s.due = time.After(linger)
	}
}

// pop gives the stream whose turn it is, nil if none waits.
func (s *shipper) pop() *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		st := s.turns.pop()
		if st == nil {
			return nil
		}
		switch st.news = false; {
		case st.dyno.removed:
			s.sources[st].close()
			delete(s.sources, st)
		case st.barred: // since it got its turn; it gets another one afterwards
			st.queued = false
		default:
			return st
		}
	}
}

// take moves one turn's lines into the batch.
func (s *shipper) take(st *stream) {
	src, cost, more := s.source(st), 0, true
	for n := 0; more && n < quantumLines && cost < quantumBytes && !s.full(); n++ {
		line, ok, err := src.next()
		if st.unread.begins(err) {
			s.log.Warn("part of a spool is unreadable", "dyno", st.Dyno, "stream", st.Stream.String(), "error", err)
		}
		if err != nil {
			s.again(st)
			ok = false
		}
		if more = ok; ok {
			s.batch.Lines = append(s.batch.Lines, line)
			s.bytes += len(line.Text)
			cost += len(line.Text) + lineCost
		}
	}
	s.endTurn(st, cost, more)
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

// endTurn sends a stream with more to the end of the line.
func (s *shipper) endTurn(st *stream, cost int, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.dyno.charge(time.Now(), cost)
	if st.queued = more || st.news; st.queued {
		s.turns.push(st, true)
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
