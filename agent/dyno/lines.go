package dyno

import (
	"fmt"
	"strings"
	"time"
)

// ErrorCode is one of Heroku's codes, as its dev center lists them.
type ErrorCode string

// The codes in use.
const (
	R10 ErrorCode = "R10"
	R12 ErrorCode = "R12"
	R13 ErrorCode = "R13"
	R14 ErrorCode = "R14"
	R15 ErrorCode = "R15"
	R16 ErrorCode = "R16"
	R17 ErrorCode = "R17"
	R99 ErrorCode = "R99"
)

// ErrorCodes are all of them.
var ErrorCodes = []ErrorCode{R10, R12, R13, R14, R15, R16, R17, R99}

// ErrorOf is the code that a line of the platform tells, if it tells an error.
func ErrorOf(line string) (ErrorCode, bool) {
	for _, code := range ErrorCodes {
		if strings.HasPrefix(line, "Error "+string(code)+" (") {
			return code, true
		}
	}
	return "", false
}

// The lines below go into the app's stream; their wording is part of the contract.

// LineState tells a change of phase.
func LineState(from, to Phase) string { return fmt.Sprintf("State changed from %s to %s", from, to) }

// LineStarting tells the command about to run; the boot clock starts with it.
func LineStarting(command string) string {
	return fmt.Sprintf("Starting process with command `%s`", command)
}

// Lines of an orderly stop and of its ladder.
const (
	LineStopping  = "Stopping all processes with SIGTERM"
	LineKilling   = "Stopping process with SIGKILL"
	LineRemaining = "Stopping remaining processes with SIGKILL"
)

// LineBootTimeout is R10.
func LineBootTimeout(limit time.Duration) string {
	return fmt.Sprintf("Error R10 (Boot timeout) -> Web process failed to bind to $PORT within %d seconds of launch", int(limit.Seconds()))
}

// LineExitTimeout is R12.
func LineExitTimeout(grace time.Duration) string {
	return fmt.Sprintf("Error R12 (Exit timeout) -> At least one process failed to exit within %d seconds of SIGTERM", int(grace.Seconds()))
}

// Lines of an attached dyno: it waits for its client, nobody comes (R13), the client is lost, the dyno does not care (R16).
const (
	LineAwaiting      = "Awaiting client"
	LineAttachTimeout = "Error R13 (Attach error) -> Failed to attach to process"
	LineHangUp        = "Client connection closed. Sending SIGHUP to all processes"
	LineDetached      = "Error R16 (Detached) -> An attached process is not responding to SIGHUP after its external connection was closed."
)

// LineChecksum is R17, in Heroku's wording.
func LineChecksum(expected, actual string) string {
	return fmt.Sprintf("Error R17 (Checksum error) -> Checksum does match expected value. Expected: SHA256:%s Actual: SHA256:%s", expected, actual)
}

// LinePlatform is R99.
func LinePlatform(reason string) string { return "Error R99 (Platform error) -> " + reason }

// LineExited tells a status: a code, or 128 + signal.
func LineExited(status int) string { return fmt.Sprintf("Process exited with status %d", status) }
