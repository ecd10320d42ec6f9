package config

import (
	"errors"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// A rule refuses some texts; its error ends a sentence that names key and value.
type rule func(text string) error

// textCodec is any text that the rule lets pass.
func textCodec(kind string, allowed rule) codec[string] {
	return codec[string]{
		kind: kind, takes: takesString, format: quote,
		parse: func(text string) (string, error) { return text, allowed(text) },
	}
}

// optional lets the empty text pass.
func optional(r rule) rule {
	return func(text string) error {
		if text == "" {
			return nil
		}
		return r(text)
	}
}

// like allows what the whole of an expression matches.
func like(expression, message string) rule {
	re := regexp.MustCompile("^(?:" + expression + ")$")
	return func(text string) error {
		if !re.MatchString(text) {
			return errors.New(message)
		}
		return nil
	}
}

var (
	pathCodec = textCodec("path", optional(cleanPath))
	hostCodec = textCodec("host name", optional(like(`[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?`, "must be a host name")))
	nameCodec = textCodec("name", like(`[A-Za-z0-9][A-Za-z0-9._-]{0,62}`, "must be 1 to 63 letters, digits, dots, dashes or underscores"))
	wordCodec = textCodec("word", like(`[^\s,]+`, "must not be empty, nor hold spaces or commas"))

	linkCodec = textCodec("interface", like(`[^\s/:",{}]{1,15}`, "must be the name of an interface, at most 15 bytes"))

	listenCodec = textCodec("address and port", optional(hostPort))
	dialCodec   = textCodec("address and port", optional(dialTarget))
	imageCodec  = textCodec("image", image)
	cgroupCodec = textCodec("cgroup path", cgroupPath)
)

func path(to *string) value { return scalarOf(to, pathCodec) }

// cleanPath allows absolute paths that mean what they say.
func cleanPath(text string) error {
	if !filepath.IsAbs(text) || filepath.Clean(text) != text {
		return errors.New("must be an absolute path without //, . or .. in it or a slash at its end")
	}
	return nil
}

func cgroupPath(text string) error {
	if text == "/" {
		return errors.New("must not be the root of the hierarchy")
	}
	return cleanPath(text)
}

func hostPort(text string) error {
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New("must be host:port, with a number for the port")
	}
	return nil
}

func dialTarget(text string) error {
	if socket, ok := strings.CutPrefix(text, unixScheme); ok {
		return cleanPath(socket)
	}
	return hostPort(text)
}

func image(text string) error {
	if strings.HasPrefix(text, "/") {
		return cleanPath(text)
	}
	if text == "" || text[0] == '.' || strings.ContainsAny(text, " \t\r\n,") {
		return errors.New("must be a registry reference, or the absolute path of an OCI archive")
	}
	return nil
}

func oneOf(to *string, allowed ...string) value {
	bounds := "one of " + strings.Join(allowed, ", ")
	c := textCodec("word", like(strings.Join(allowed, "|"), "must be "+bounds))
	c.bounds = bounds
	return scalarOf(to, c)
}

// quote writes a TOML basic string. No setting allows a character that TOML and Go escape differently.
func quote(text string) string { return strconv.Quote(text) }
