// Package contract_test holds dynod to docs/contract.md: each sentence of that page is a row of a table here, with a
// check that runs real dynos. `make test-contract` prints one line for each.
package contract_test

import (
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/dynod/dynod/test/lab"
)

// sentence is one of the page's, by its number there.
type sentence struct {
	number, text string
	check        func(*stage) error
}

// contract is every sentence in the order of the page.
func contract() []sentence {
	return slices.Concat(sizes(), memory(), lines(), failures(), rules(), crashes(), process(), files(), images(),
		artifacts(), apps(), oneOffs(), attached(), network(), logs())
}

// warm is how many sandboxes are made ahead: whether a dyno's has been, no app may tell.
var warm = flag.Int("warm", 0, "slots to keep warm")

// TestMain lets many sentences be checked at once: most of them wait, for a clock or for a dyno.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "24"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestContract(t *testing.T) {
	lab.Root(t)
	s := open(t)
	all := contract()
	r := newReport(os.Stdout, all)
	t.Cleanup(r.finish)
	for _, line := range all {
		t.Run(line.number, func(t *testing.T) {
			t.Parallel()
			err := line.check(s)
			r.add(line, err)
			if err != nil {
				t.Error(err)
			}
		})
	}
}
