package launch_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dynod/dynod/runtime/launch"
)

func TestPlanComesBackAsItWas(t *testing.T) {
	field := rapid.Map(rapid.SliceOf(rapid.ByteRange(1, 255)), func(b []byte) string { return string(b) })
	rapid.Check(t, func(t *rapid.T) {
		plan := launch.Plan{
			Args: append([]string{"command"}, rapid.SliceOf(field).Draw(t, "arguments")...),
			Env:  append([]string{""}, rapid.SliceOf(field).Draw(t, "environment")...),
			Dir:  "/" + field.Draw(t, "directory"),

			Stdio: launch.Stdio(rapid.ByteRange(0, byte(launch.Terminal)).Draw(t, "streams")),
			Rows:  rapid.Uint16().Draw(t, "rows"), Columns: rapid.Uint16().Draw(t, "columns"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "limits") {
			plan.Rlimits = append(plan.Rlimits, launch.Rlimit{
				Resource: rapid.IntRange(0, 15).Draw(t, "resource"), Soft: rapid.Uint64().Draw(t, "soft"), Hard: rapid.Uint64().Draw(t, "hard"),
			})
		}
		data, err := plan.Encode()
		if err != nil {
			t.Fatal(err)
		}
		kind, payload, err := launch.Read(bytes.NewReader(launch.Frame(launch.Plans, data)))
		if err != nil || kind != launch.Plans {
			t.Fatalf("frame: %q, %v", byte(kind), err)
		}
		if again, err := launch.Decode(payload); err != nil || !reflect.DeepEqual(again, plan) {
			t.Fatalf("%+v became %+v (%v)", plan, again, err)
		}
	})
}

func TestPlansThatCannotBeSent(t *testing.T) {
	for name, plan := range map[string]launch.Plan{
		"no command":         {Dir: "/"},
		"empty command":      {Args: []string{""}, Dir: "/"},
		"relative directory": {Args: []string{"x"}, Dir: "app"},
		"unknown streams":    {Args: []string{"x"}, Dir: "/", Stdio: launch.Terminal + 1},
		"NUL in argument":    {Args: []string{"x", "\x00"}, Dir: "/"},
		"NUL in variable":    {Args: []string{"x"}, Env: []string{"A=\x00"}, Dir: "/"},
		"NUL in directory":   {Args: []string{"x"}, Dir: "/\x00"},
		"too much":           {Args: []string{"x"}, Env: []string{strings.Repeat("x", launch.MaxPlan)}, Dir: "/"},
	} {
		if _, err := plan.Encode(); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}

func TestFramesThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"nothing":         {nil, io.EOF},
		"half a header":   {[]byte{1, 0}, io.ErrUnexpectedEOF},
		"half a payload":  {launch.Frame(launch.Failed, []byte("reason"))[:8], io.ErrUnexpectedEOF},
		"unknown kind":    {launch.Frame('?', nil), launch.ErrFrame},
		"long reason":     {launch.Frame(launch.Failed, make([]byte, launch.MaxState+1)), launch.ErrFrame},
		"4 GB plan":       {[]byte{0xff, 0xff, 0xff, 0xff, byte(launch.Plans)}, launch.ErrFrame},
		"plan over bound": {[]byte{1, 0, 0x80, 0, byte(launch.Plans)}, launch.ErrFrame},
		"exec over bound": {[]byte{1, 0, 0x80, 0, byte(launch.Exec)}, launch.ErrFrame},
		"exit of nothing": {launch.Frame(launch.Exit, nil), launch.ErrFrame},
		"long exit":       {launch.Frame(launch.Exit, []byte{1, 2}), launch.ErrFrame},
		"no signal":       {launch.Frame(launch.Signal, nil), launch.ErrFrame},
		"long signal":     {launch.Frame(launch.Signal, []byte{1, 2}), launch.ErrFrame},
	} {
		if _, _, err := launch.Read(bytes.NewReader(c.data)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// FuzzDecode: whatever comes is either refused or a plan that encodes to what came, up to how numbers are written.
func FuzzDecode(f *testing.F) {
	good, err := launch.Plan{Args: []string{"a", ""}, Env: []string{"B=c"}, Dir: "/", Rlimits: []launch.Rlimit{{Resource: 7, Soft: 1, Hard: 2}}, Stdio: launch.Terminal, Rows: 24, Columns: 80}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("99999\x001\x000\x00/\x000\x000\x000\x00"))
	f.Add([]byte("1\x000\x00-1\x00/\x000\x000\x000\x00x\x00"))
	f.Add([]byte("1\x000\x000\x00/\x003\x0070000\x00-1\x00x\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		plan, err := launch.Decode(data)
		if err != nil {
			if !errors.Is(err, launch.ErrFrame) {
				t.Errorf("class of %v", err)
			}
			return
		}
		again, err := plan.Encode()
		if err != nil {
			t.Fatalf("decoded %+v, which does not encode: %v", plan, err)
		}
		if back, err := launch.Decode(again); err != nil || !reflect.DeepEqual(back, plan) {
			t.Errorf("%+v became %+v (%v)", plan, back, err)
		}
	})
}

// FuzzRead: whatever comes is either refused or a frame that encodes to what came, no longer than its kind may be.
func FuzzRead(f *testing.F) {
	f.Add(launch.Frame(launch.Exit, []byte{7}))
	f.Add(launch.Frame(launch.Signal, []byte{15}))
	f.Add(launch.Frame(launch.Exec, []byte("1\x000\x000\x00/\x000\x000\x000\x00x\x00")))
	f.Add(launch.Frame(launch.Failed, []byte("reason")))
	f.Add([]byte{0, 0, 0, 0xff, byte(launch.Exec)})
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, payload, err := launch.Read(bytes.NewReader(data))
		if err != nil {
			if !errors.Is(err, launch.ErrFrame) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("class of %v", err)
			}
			return
		}
		if again := launch.Frame(kind, payload); !bytes.HasPrefix(data, again) {
			t.Errorf("%q became %q", data, again)
		}
		if (kind == launch.Exit || kind == launch.Signal) && len(payload) != 1 || len(payload) > launch.MaxPlan {
			t.Errorf("%d bytes of kind %q", len(payload), byte(kind))
		}
	})
}
