package logs

import "time"

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
		st := s.turns.pop(time.Now())
		if st == nil {
			return nil
		}
		st.queued = false
		if !st.dyno.removed {
			return st
		}
		s.sources[st].close()
		delete(s.sources, st)
	}
}

// take moves one turn's lines into the batch; a stream with more goes to the end of the queue.
func (s *shipper) take(st *stream) {
	src, cost := s.source(st), 0
	defer func() { s.charge(st, cost) }()
	for range quantumLines {
		if s.full() || cost >= quantumBytes {
			break
		}
		line, ok, err := src.next()
		if err != nil {
			s.log.Warn("part of a spool is unreadable", "dyno", st.Dyno, "stream", st.Stream.String(), "error", err)
			continue
		}
		if !ok {
			return
		}
		s.batch.Lines = append(s.batch.Lines, line)
		s.bytes += len(line.Text)
		cost += len(line.Text) + lineCost
	}
	s.again(st)
}

func (s *shipper) charge(st *stream, cost int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.dyno.charge(time.Now(), cost)
}

func (s *shipper) again(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enqueue(st)
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
