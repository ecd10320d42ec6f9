package logs

import "slices"

// settle takes in the answer to a batch: of each stream its first lines are delivered.
func (s *shipper) settle(b Batch, a answer) {
	if a.err != nil {
		s.stats.errors.Add(1)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range b.Runs {
		r := &b.Runs[i]
		if st := s.ours(r.Key); st != nil {
			s.acknowledge(st, r, a.ack.Offsets[r.Key])
		}
	}
}

// ours is the stream of a run that was read; nil: it was removed meanwhile. The caller holds mu.
func (s *shipper) ours(k Key) *stream {
	d := s.dynos[k.Dyno]
	if d == nil || s.sources[d.stream(k.Stream)] == nil { // known again since
		return nil
	}
	return d.stream(k.Stream)
}

// acknowledge moves a stream's cursor over lines of a run. The caller holds mu.
func (s *shipper) acknowledge(st *stream, r *Run, offset int64) {
	n, any := r.below(offset)
	if !any || r.Offset+int64(n) <= st.acked {
		return
	}
	st.acked = r.Offset + int64(n)
	if s.far(st) {
		poke(s.kick)
	}
	st.dyno.tell()
}

// delivered counts what is delivered of a batch, and says whether that is all of it. Dynos that are gone do not matter.
func (s *shipper) delivered(b Batch) (t tally, whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	whole = true
	for i := range b.Runs {
		r := &b.Runs[i]
		if st := s.ours(r.Key); st != nil {
			t.add(r, st.acked)
			whole = whole && r.End() <= st.acked
		}
	}
	return t, whole
}

// present gives the runs without those of streams that were removed or barred meanwhile.
func (s *shipper) present(runs []Run) []Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(runs), func(r Run) bool {
		st := s.ours(r.Key)
		return st == nil || st.barred
	})
}
