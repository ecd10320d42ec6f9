package launch

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Encode turns a plan into fields that each end with a NUL byte: the counts of arguments, variables and limits, the
// directory, the standard streams and the terminal's size, then the arguments, the variables, and three numbers for
// each limit. It refuses a plan that Decode would not take back: no command, a directory that is not absolute, a NUL
// byte, or too much.
func (p Plan) Encode() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	fields := []string{
		strconv.Itoa(len(p.Args)), strconv.Itoa(len(p.Env)), strconv.Itoa(len(p.Rlimits)), p.Dir,
		strconv.Itoa(int(p.Stdio)), strconv.Itoa(int(p.Rows)), strconv.Itoa(int(p.Columns)),
	}
	fields = append(append(fields, p.Args...), p.Env...)
	for _, l := range p.Rlimits {
		fields = append(fields, strconv.Itoa(l.Resource), strconv.FormatUint(l.Soft, 10), strconv.FormatUint(l.Hard, 10))
	}
	for _, f := range fields {
		if strings.IndexByte(f, 0) >= 0 {
			return nil, errors.New("encode plan: a NUL byte in the command, the environment or the directory")
		}
	}
	text := strings.Join(fields, "\x00") + "\x00"
	if len(text) > MaxPlan {
		return nil, fmt.Errorf("encode plan: %d bytes, at most %d can be sent", len(text), MaxPlan)
	}
	return []byte(text), nil
}

func (p Plan) check() error {
	if len(p.Args) == 0 || p.Args[0] == "" {
		return errors.New("check plan: no command")
	}
	if !strings.HasPrefix(p.Dir, "/") {
		return fmt.Errorf("check plan: working directory %q is not absolute", p.Dir)
	}
	if p.Stdio > Terminal {
		return fmt.Errorf("check plan: standard streams of kind %d", p.Stdio)
	}
	return nil
}

// Decode is Encode's inverse. An error wraps ErrFrame.
func Decode(data []byte) (Plan, error) {
	text, ok := strings.CutSuffix(string(data), "\x00")
	if !ok {
		return Plan{}, fmt.Errorf("%w: plan without an end", ErrFrame)
	}
	f := fields{rest: strings.Split(text, "\x00")}
	args, env, limits := f.count(), f.count(), f.count()
	p := Plan{Dir: f.next(), Stdio: Stdio(f.number(8)), Rows: uint16(f.number(16)), Columns: uint16(f.number(16))}
	p.Args, p.Env = f.take(args), f.take(env)
	for range limits {
		p.Rlimits = append(p.Rlimits, Rlimit{Resource: f.count(), Soft: f.number(64), Hard: f.number(64)})
	}
	if f.bad || len(f.rest) > 0 {
		return Plan{}, fmt.Errorf("%w: plan", ErrFrame)
	}
	if err := p.check(); err != nil {
		return Plan{}, fmt.Errorf("%w: %w", ErrFrame, err)
	}
	return p, nil
}

// fields hands out the fields of a plan in order and remembers whether one was missing or no number.
type fields struct {
	rest []string
	bad  bool
}

func (f *fields) next() string {
	if len(f.rest) == 0 {
		f.bad = true
		return ""
	}
	first := f.rest[0]
	f.rest = f.rest[1:]
	return first
}

func (f *fields) take(n int) []string {
	if n > len(f.rest) {
		f.bad = true
		return nil
	}
	taken := f.rest[:n:n]
	f.rest = f.rest[n:]
	return taken
}

func (f *fields) number(bits int) uint64 {
	n, err := strconv.ParseUint(f.next(), 10, bits)
	f.bad = f.bad || err != nil
	return n
}

// count is a small number: it can never be more than the fields that are left.
func (f *fields) count() int {
	n := f.number(64)
	if n > MaxPlan {
		f.bad = true
		return 0
	}
	return int(n)
}
