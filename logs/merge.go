package logs

// merger gives the lines of a dyno's streams merged by time. It is used by one goroutine.
type merger struct{ heads []head }

// head is a stream and its next line, if that was read already.
type head struct {
	src  *source
	line Line
	ok   bool
}

func (m *merger) add(src *source) { m.heads = append(m.heads, head{src: src}) }

// peek gives the head whose line is the oldest, nil if there is no line at present. An error is one stream's, see
// source.next.
func (m *merger) peek() (*head, error) {
	var first *head
	for i := range m.heads {
		h := &m.heads[i]
		if !h.ok {
			var err error
			if h.line, h.ok, err = h.src.next(); err != nil {
				return nil, err
			}
		}
		if h.ok && (first == nil || h.line.Time.Before(first.line.Time)) {
			first = h
		}
	}
	return first, nil
}

// pop gives the line of a head, which goes on to the next one.
func (h *head) pop() Line {
	line := h.line
	h.line, h.ok = Line{}, false
	return line
}

func (m *merger) close() {
	for _, h := range m.heads {
		h.src.close()
	}
	m.heads = nil
}
