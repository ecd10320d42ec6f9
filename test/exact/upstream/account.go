package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/exact/numbered"
)

// maxText is the longest text of one line.
const maxText = 10_000

// remembered is how many lines of a stream are known again when they are sent twice. A killed agent goes on from a
// cursor that is at most a second old.
const remembered = 1 << 17

var seed = maphash.MakeSeed()

// Account is what arrived of one stream.
type Account struct {
	Next      int64 // every byte below is delivered or lost
	Delivered int64 // bytes
	Lost      int64 // bytes
	Gaps      int64 // places of loss
	Lines     int64 // taken, each piece of a cut one
	Doubles   int64 // lines that came again
}

// account checks one stream.
type account struct {
	Account
	want   *numbered.Reader // nil: only order is checked
	open   bool             // the last line had no end: a loss follows, or nothing
	behind int64            // end of the lines that were refused on purpose, or came behind such: they must come again
	seen   []stamp          // ascending
}

// stamp knows a line again.
type stamp struct {
	offset, size int64
	print        uint64
}

func (a stamp) compare(b stamp) int {
	if a.offset != b.offset {
		return int(a.offset - b.offset)
	}
	return int(a.size - b.size)
}

func stampOf(l *dynodv1.LogLine) stamp {
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.Write(l.GetText())
	fmt.Fprint(&h, l.GetTime().AsTime().UnixNano(), l.GetContinued(), l.GetLostBytes())
	return stamp{l.GetOffset(), l.GetSize(), h.Sum64()}
}

// take gives whether the line is taken or was before; false: it follows a line that was refused on purpose.
func (a *account) take(l *dynodv1.LogLine) (bool, error) {
	end := l.GetOffset() + l.GetSize()
	if end <= a.Next {
		a.Doubles++
		return true, a.again(l)
	}
	switch begin := l.GetOffset() - l.GetLostBytes(); {
	case begin > a.Next && begin <= a.behind:
		a.refuse(l)
		return false, nil
	case begin != a.Next:
		return false, fmt.Errorf("line at %d (%d lost before it) after %d", l.GetOffset(), l.GetLostBytes(), a.Next)
	}
	if err := errors.Join(a.shape(l), a.content(l)); err != nil {
		return false, err
	}
	a.Next, a.Lines = end, a.Lines+1
	a.Delivered, a.Lost = a.Delivered+l.GetSize(), a.Lost+l.GetLostBytes()
	if l.GetLostBytes() > 0 {
		a.Gaps++
	}
	a.remember(stampOf(l))
	return true, nil
}

func (a *account) refuse(l *dynodv1.LogLine) {
	a.behind = max(a.behind, l.GetOffset()+l.GetSize())
}

// again holds a line that came before to being the same in everything.
func (a *account) again(l *dynodv1.LogLine) error {
	s := stampOf(l)
	i, found := slices.BinarySearchFunc(a.seen, s, stamp.compare)
	switch {
	case !found:
		return fmt.Errorf("line at %d of %d bytes is below %d and never came before", l.GetOffset(), l.GetSize(), a.Next)
	case a.seen[i].print != s.print:
		return fmt.Errorf("line at %d is not the one that came before", l.GetOffset())
	}
	return nil
}

func (a *account) remember(s stamp) {
	if a.seen = append(a.seen, s); len(a.seen) > 2*remembered {
		a.seen = append(a.seen[:0], a.seen[remembered:]...)
	}
}

// shape checks how the line is cut.
func (a *account) shape(l *dynodv1.LogLine) error {
	text, newline := l.GetText(), l.GetSize()-int64(len(l.GetText()))
	switch {
	case a.open && l.GetLostBytes() == 0:
		return fmt.Errorf("line at %d follows one without an end", l.GetOffset())
	case newline != 0 && newline != 1, len(text) > maxText, bytes.IndexByte(text, '\n') >= 0:
		return fmt.Errorf("line at %d: %d bytes of text for %d", l.GetOffset(), len(text), l.GetSize())
	case l.GetContinued() && (len(text) != maxText || newline == 1):
		return fmt.Errorf("line at %d is cut after %d bytes", l.GetOffset(), len(text))
	case !l.GetTime().IsValid() || l.GetTime().GetSeconds() == 0:
		return fmt.Errorf("line at %d has no time", l.GetOffset())
	}
	a.open = newline == 0 && l.GetSize() > 0 && !l.GetContinued() // one without text tells of a loss alone
	return nil
}

// unknown is a loss that tells of a power cut: more than was ever said, so that nobody knows what should come behind.
const unknown = 1 << 32

// content holds the bytes against what they must be, and the count of lost lines against what is skipped.
func (a *account) content(l *dynodv1.LogLine) error {
	if l.GetLostBytes() >= unknown {
		a.want = nil
	}
	if a.want == nil {
		return nil
	}
	if lines := a.want.Skip(l.GetLostBytes()); lines != l.GetLostLines() {
		return fmt.Errorf("%d lines are told as lost before %d, and %d are missing", l.GetLostLines(), l.GetOffset(), lines)
	}
	text := l.GetText()
	if l.GetSize() > int64(len(text)) {
		text = append(slices.Clip(text), '\n')
	}
	if same := a.want.Match(text); same != l.GetSize() {
		return fmt.Errorf("byte %d is wrong", l.GetOffset()+same)
	}
	return nil
}
