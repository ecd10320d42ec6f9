package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
)

func boolean(to *bool) value {
	return scalarOf(to, codec[bool]{
		kind: "boolean", takes: takesBool, format: strconv.FormatBool,
		parse: func(text string) (bool, error) {
			if text != "true" && text != "false" {
				return false, errors.New("must be true or false")
			}
			return text == "true", nil
		},
	})
}

type integer interface {
	~int | ~int64 | ~uint16 | ~uint32 | ~uint64
}

// wholeOf is a number from least to most; both fit T.
func wholeOf[T integer](least, most int64) codec[T] {
	bounds := fmt.Sprintf("%d to %d", least, most)
	return codec[T]{
		kind: "number", bounds: bounds, takes: takesInteger,
		format: func(v T) string { return strconv.FormatInt(int64(v), 10) },
		parse: func(text string) (T, error) {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < least || n > most {
				return 0, errors.New("must be a whole number from " + bounds)
			}
			return T(n), nil
		},
	}
}

func whole[T integer](to *T, least, most int64) value { return scalarOf(to, wholeOf[T](least, most)) }

// bytes is an amount of memory or disk. Units are powers of 1024, with or without the i.
func bytes(to *int64, least, most int64) value {
	bounds := size(least) + " to " + size(most)
	return scalarOf(to, codec[int64]{
		kind: "size", bounds: bounds, takes: takesString | takesInteger, format: formatBytes,
		parse: func(text string) (int64, error) {
			n, err := units.RAMInBytes(text)
			if err != nil || n == math.MaxInt64 || n < least || n > most {
				return 0, errors.New(`must be a size such as "512MiB" from ` + bounds)
			}
			return n, nil
		},
	})
}

// size writes n in the largest unit that leaves a whole number.
func size(n int64) string {
	unit := 0
	for n != 0 && n%1024 == 0 && unit < 5 {
		n, unit = n/1024, unit+1
	}
	return strconv.FormatInt(n, 10) + []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}[unit]
}

func formatBytes(n int64) string { return quote(size(n)) }

func duration(to *time.Duration, least, most time.Duration) value {
	return scalarOf(to, durationCodec(least, most))
}

func durationCodec(least, most time.Duration) codec[time.Duration] {
	bounds := shortDuration(least) + " to " + shortDuration(most)
	return codec[time.Duration]{
		kind: "duration", bounds: bounds, takes: takesString,
		format: func(d time.Duration) string { return quote(shortDuration(d)) },
		parse: func(text string) (time.Duration, error) {
			d, err := time.ParseDuration(text)
			if err != nil || d < least || d > most {
				return 0, errors.New(`must be a duration such as "30s" from ` + bounds)
			}
			return d, nil
		},
	}
}

// shortDuration leaves out the zeroes at the end: 5m0s is 5m.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

const levels = "debug, info, warn, error"

func level(to *slog.Level) value {
	return scalarOf(to, codec[slog.Level]{
		kind: "word", bounds: "one of " + levels, takes: takesString,
		format: func(l slog.Level) string { return quote(strings.ToLower(l.String())) },
		parse: func(text string) (slog.Level, error) {
			l, ok := map[string]slog.Level{
				"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
			}[text]
			if !ok {
				return 0, errors.New("must be one of " + levels)
			}
			return l, nil
		},
	})
}

var addrCodec = codec[netip.Addr]{
	kind: "address", takes: takesString,
	format: func(a netip.Addr) string { return quote(a.String()) },
	parse: func(text string) (netip.Addr, error) {
		a, err := netip.ParseAddr(text)
		if err != nil || !a.Is4() || a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
			return netip.Addr{}, errors.New("must be an IPv4 address that a dyno can reach, so neither loopback nor link-local")
		}
		return a, nil
	},
}

var destinationCodec = codec[Destination]{
	kind: "destination", takes: takesString,
	format: func(d Destination) string {
		if d.Port == 0 {
			return quote(d.Prefix.String())
		}
		return quote(d.Prefix.String() + ":" + strconv.Itoa(int(d.Port)))
	},
	parse: func(text string) (d Destination, err error) {
		prefix, port, cut := strings.Cut(text, ":")
		d.Prefix, err = netip.ParsePrefix(prefix)
		if err == nil && cut {
			var n uint64
			n, err = strconv.ParseUint(port, 10, 16)
			d.Port = uint16(n)
		}
		if err != nil || !d.Prefix.Addr().Is4() || d.Prefix.Masked() != d.Prefix || cut && d.Port == 0 {
			return d, errors.New(`must be an IPv4 network with no bits set after its length, such as "10.0.0.0/8", or with a port, "10.0.0.0/8:5432"`)
		}
		return d, nil
	},
}

var blockCodec = codec[netip.Prefix]{
	kind: "network", takes: takesString,
	format: func(p netip.Prefix) string { return quote(p.String()) },
	parse: func(text string) (netip.Prefix, error) {
		p, err := netip.ParsePrefix(text)
		if err != nil || !p.Addr().Is4() || p.Bits() > 30 || p.Masked() != p {
			return netip.Prefix{}, errors.New(`must be an IPv4 network such as "172.16.0.0/12", /30 or larger, with no bits set after its length`)
		}
		return p, nil
	},
}
