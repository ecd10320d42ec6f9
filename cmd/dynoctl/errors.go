package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Exit codes; the root command's help explains them.
const (
	exitOK = iota
	exitFailed
	exitUsage
	exitUnreachable
	exitNotFound
	exitRefused

	exitOfCtl = 125 // of commands that otherwise leave with the code of a command in a dyno
)

// errNoAnswer: the agent is there and silent.
var errNoAnswer = errors.New("the agent did not answer")

// usageError is about what the user typed.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// several is what errors.Join makes.
type several interface{ Unwrap() []error }

func (c *ctl) exitCode(err error) int {
	var many several
	var usage usageError
	switch {
	case errors.As(err, &many):
		return c.exitCode(many.Unwrap()[0])
	case !c.running || errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errNoAnswer):
		return exitUnreachable
	}
	switch statusOf(err).Code() { // of what is no status: OK, hence failed
	case codes.InvalidArgument:
		return exitUsage
	case codes.Unavailable:
		return exitUnreachable
	case codes.NotFound:
		return exitNotFound
	case codes.FailedPrecondition, codes.AlreadyExists, codes.ResourceExhausted, codes.PermissionDenied,
		codes.Unauthenticated, codes.DeadlineExceeded: // the last: the order came after its not_after
		return exitRefused
	default:
		return exitFailed
	}
}

// complain writes an error for people: one sentence, and a line for each wrong field of an order.
func (c *ctl) complain(err error) {
	var many several
	if errors.As(err, &many) {
		for _, e := range many.Unwrap() {
			c.complain(e)
		}
		return
	}
	_, _ = fmt.Fprintf(c.errOut, "dynoctl: %s\n", printable(c.sentence(err)))
	for _, v := range violations(err) {
		_, _ = fmt.Fprintf(c.errOut, "  %s: %s\n", printable(v.GetField()), printable(v.GetDescription()))
	}
	if !c.running {
		_, _ = fmt.Fprintln(c.errOut, `"dynoctl --help" says what there is.`)
	}
}

func (c *ctl) sentence(err error) string {
	s := statusOf(err)
	if s == nil {
		return strings.Join(strings.Fields(err.Error()), " ") // parsers like to use several lines
	}
	text := s.Message()
	switch {
	case s.Code() == codes.Unavailable:
		reason := transportReason(text)
		return fmt.Sprintf("the agent at %s is not available: %s%s", c.target(), reason, hint(reason))
	case s.Code() == codes.Unimplemented:
		return "the agent does not offer this: " + text
	case text == "":
		return strings.ToLower(s.Code().String())
	default:
		return text
	}
}

// statusOf is the agent's answer in err, or nil. Unlike status.Convert it leaves the message as it was sent.
func statusOf(err error) *status.Status {
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return s.GRPCStatus()
	}
	return nil
}

// wrapping is what gRPC puts around the reason of a failed connection.
var wrapping = regexp.MustCompile(`^(connection error|transport|Error while dialing|authentication handshake failed|` +
	`error reading from server|error reading server preface|closing transport due to|failed to write client preface): *`)

// transportReason takes the wrapping off: what the operating system or TLS said remains.
func transportReason(text string) string {
	for {
		inner := wrapping.ReplaceAllString(text, "")
		if quoted, ok := strings.CutPrefix(inner, `desc = "`); ok {
			inner = strings.TrimSuffix(quoted, `"`)
		}
		if inner == text {
			return text
		}
		text = inner
	}
}

// hint is what to look at first.
func hint(reason string) string {
	for _, h := range []struct{ part, hint string }{
		{"no such file", " (is dynod running?)"},
		{"connection refused", " (is dynod running?)"},
		{"permission denied", " (only root and the socket's group may use it)"},
		{"EOF", " (it hung up: this user or certificate is not admitted)"},
		{"broken pipe", " (it hung up: this user or certificate is not admitted)"},
		{"connection reset", " (it hung up: this user or certificate is not admitted)"},
	} {
		if strings.Contains(reason, h.part) {
			return h.hint
		}
	}
	return ""
}

func violations(err error) []*errdetails.BadRequest_FieldViolation {
	var all []*errdetails.BadRequest_FieldViolation
	for _, d := range statusOf(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			all = append(all, bad.GetFieldViolations()...)
		}
	}
	return all
}
