package logs

const (
	maxBytes = 128 << 10 // of a batch: what a quiet dyno's line may have to wait for
	runCost  = 128       // bytes of a run beside its text, at most
	markCost = 16        // bytes of one of its marks, at most
)

// cargo is what a batch is made of, and the memory in which it lies: that is used again when the batch is delivered.
type cargo struct {
	runs  []Run
	text  []byte // those of runs lie in it, one behind the other
	used  int    // of text
	bytes int    // what all of it comes to on the way
}

func newCargo() *cargo { return &cargo{text: make([]byte, maxBytes+MaxLine+turnBytes)} }

func (c *cargo) full() bool { return c.bytes >= maxBytes }

// measure takes account of runs from the first one on, whose texts were read to the end of what is used.
func (c *cargo) measure(first int) {
	for _, r := range c.runs[first:] {
		c.used += len(r.Text)
		c.bytes += len(r.Text) + runCost + markCost*len(r.Later)
	}
}

// clear makes room for another batch.
func (c *cargo) clear() {
	clear(c.runs)
	c.runs, c.used, c.bytes = c.runs[:0], 0, 0
}
