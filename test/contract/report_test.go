package contract_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
)

// report writes a line for each sentence, in the page's order, as soon as all before it are known.
type report struct {
	out    io.Writer
	mu     sync.Mutex
	order  []sentence
	result map[string]string // line by number
	failed int
	next   int // first sentence whose line is not written
}

func newReport(out io.Writer, all []sentence) *report {
	return &report{out: out, order: all, result: map[string]string{}}
}

func (r *report) add(s sentence, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result[s.number] = fmt.Sprintf("passed  %s  %s", s.number, s.text)
	if err != nil {
		r.failed++
		reason := strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " ")
		r.result[s.number] = fmt.Sprintf("failed  %s  %s: %s", s.number, s.text, reason)
	}
	for r.next < len(r.order) && r.write() {
		r.next++
	}
}

func (r *report) write() bool {
	line, known := r.result[r.order[r.next].number]
	if known {
		fmt.Fprintln(r.out, line)
	}
	return known
}

// finish writes what is left when only some sentences were asked for, and the count.
func (r *report) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ; r.next < len(r.order); r.next++ {
		r.write()
	}
	fmt.Fprintf(r.out, "%d passed, %d failed\n", len(r.result)-r.failed, r.failed)
}

func TestReportIsInOrder(t *testing.T) {
	var out strings.Builder
	r := newReport(&out, []sentence{{number: "S1", text: "One."}, {number: "S2", text: "Two."}, {number: "S3", text: "Three."}})
	r.add(sentence{number: "S2", text: "Two."}, errors.New("no\n  such thing"))
	if out.String() != "" {
		t.Errorf("early: %q", out.String())
	}
	r.add(sentence{number: "S1", text: "One."}, nil)
	r.finish()
	const want = "passed  S1  One.\nfailed  S2  Two.: no; such thing\n1 passed, 1 failed\n"
	if out.String() != want {
		t.Errorf("got %q", out.String())
	}
}
