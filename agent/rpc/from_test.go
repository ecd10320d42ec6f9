package rpc_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dynod/dynod/agent/dyno"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// given leaves out what an order does not say.
var given = cmpopts.IgnoreFields(dyno.Spec{}, "Given")

func TestSpecArrives(t *testing.T) {
	h := newHost(t)
	slug := dyno.Spec{
		App: "shop", Name: "web.7", Type: "web", Size: "standard-1x", Port: 5001, OneOff: true, NetworkPolicy: "default",
		Limits:      dyno.Limits{Memory: 64 << 20, CPUWeight: 101, CPUMilli: 1500, Pids: 33, Files: 1001, Disk: 8 << 20},
		Metrics:     true,
		Artifact:    dyno.Artifact{Stack: "small", SHA256: strings.Repeat("a", 64)},
		Command:     dyno.Command{Line: "bin/web -p $PORT"},
		BootTimeout: 41 * time.Second, Grace: 42 * time.Second, TimeToLive: 43 * time.Minute,
		Restart: dyno.Policy{Backoff: true, Delays: []time.Duration{time.Hour, 2 * time.Hour}, ResetAfter: 44 * time.Second},
		Metadata: dyno.Metadata{
			AppID: "m-app", ReleaseID: "m-release", ReleaseVersion: "m-version", ReleaseCreatedAt: noon,
			SlugCommit: "m-commit", SlugDescription: "m-description",
		},
		Secret: dyno.Secret{
			Environment: map[string]string{"KEY": "value"}, SlugURL: "https://slugs.example/1",
			LogSinks: []dyno.LogSink{{URL: "https://logs.example/1", Token: "sink-token"}, {URL: "syslog+tls://logs.example"}},
		},
	}
	image := slug
	image.Artifact = dyno.Artifact{Image: "registry.example/app:1"}
	image.Command = dyno.Command{Words: []string{"serve", "$PORT"}}
	image.Secret = dyno.Secret{Environment: slug.Secret.Environment, Username: "someone", Password: "secret-password", LogSinks: slug.Secret.LogSinks}

	attached, err := h.config.Defaults.Complete(dyno.Spec{
		App: "shop", Name: "run.1", OneOff: true, Attach: &dyno.Attach{Terminal: true, Rows: 24, Columns: 80},
		Artifact: slug.Artifact, Command: dyno.Command{Line: "run"},
		Secret: dyno.Secret{Environment: slug.Secret.Environment, SlugURL: slug.Secret.SlugURL, RendezvousURL: "rendezvous://rendezvous.example:5000/secret"},
	})
	if err != nil {
		t.Fatal(err)
	}

	h.start(fullSlug(first))
	h.start(fullImage(second))
	h.start(fullAttach(third))
	for id, want := range map[string]dyno.Spec{first: slug, second: image, third: attached} {
		got, err := h.agent.Get(id)
		if diff := cmp.Diff(want, got.Spec, given); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		if got.Generation != 3 && id != third {
			t.Errorf("generation %d", got.Generation)
		}
	}
	unset := blank(reflect.ValueOf(slug), "Spec")
	for _, other := range []dyno.Spec{image, attached} {
		maps.DeleteFunc(unset, func(field string, _ bool) bool { return !blank(reflect.ValueOf(other), "Spec")[field] })
	}
	// No spec here has a space; some limits come with sizes only; Gone is of the store.
	for _, field := range []string{
		"Spec.Metadata.Space", "Spec.Limits.Swap", "Spec.Limits.R15Percent", "Spec.Limits.MemoryHigh",
		"Spec.Limits.IOWeight", "Spec.Limits.IOBytes", "Spec.Limits.IOOperations", "Spec.Secret.Gone",
	} {
		delete(unset, field)
	}
	if len(unset) > 0 {
		t.Errorf("no order reaches %v", slices.Sorted(maps.Keys(unset)))
	}
}

// blank names the fields of a struct, at any depth, that are zero.
func blank(v reflect.Value, name string) map[string]bool {
	out := map[string]bool{}
	if v.Kind() != reflect.Struct || v.Type() == reflect.TypeFor[time.Time]() {
		if v.IsZero() {
			out[name] = true
		}
		return out
	}
	for i := range v.NumField() {
		maps.Copy(out, blank(v.Field(i), name+"."+v.Type().Field(i).Name))
	}
	return out
}

func TestDefaultsArrive(t *testing.T) {
	h := newHost(t)
	h.start(order(first, "web.1"))
	got, err := h.agent.Get(first)
	want := dyno.Spec{
		App: "shop", Name: "web.1", Type: "web", Size: "standard-1x", Port: 5000, NetworkPolicy: "default",
		Limits: h.config.Defaults.Sizes["standard-1x"], Artifact: dyno.Artifact{Stack: "small", SHA256: strings.Repeat("a", 64)},
		Command: dyno.Command{Line: "run"}, BootTimeout: time.Minute, Grace: 30 * time.Second,
		Secret: dyno.Secret{Environment: map[string]string{"KEY": "value"}, SlugURL: "https://slugs.example/1"},
	}
	if diff := cmp.Diff(want, got.Spec, given); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

// Every field of a DynoSpec counts: an order that differs in it is another spec, or is refused by that field's name.
// A field that were left out silently would give the same answer as the order before.
func TestEveryFieldOfASpecCounts(t *testing.T) {
	h := newHost(t)
	bases := []*dynodv1.StartDynoRequest{fullSlug(first), fullImage(second), fullAttach(third)}
	known := map[string]bool{} // all fields, and whether some base has them
	for _, base := range bases {
		h.start(base)
		for _, c := range changes(base.GetSpec().ProtoReflect(), nil) {
			for i := range c.path {
				name := change{path: c.path[:i+1]}.name()
				known[name] = known[name] || c.set
			}
		}
	}
	for _, base := range bases {
		for _, c := range changes(base.GetSpec().ProtoReflect(), nil) {
			if known[c.name()] && !c.set {
				continue // one of two that exclude each other
			}
			changed := proto.CloneOf(base)
			c.apply(changed.GetSpec().ProtoReflect())
			_, err := h.StartDyno(limited(t), changed)
			if !counts(err, c.name()) {
				t.Errorf("%s: got %v", c.name(), err)
			}
		}
	}
	if len(known) < 40 {
		t.Errorf("only %d fields were looked at", len(known))
	}
}

// counts says whether an answer shows that a field was looked at.
func counts(err error, field string) bool {
	switch status.Code(err) {
	case codes.AlreadyExists:
		return true
	case codes.Unimplemented:
		return strings.Contains(err.Error(), field)
	case codes.InvalidArgument:
		bad := violations(err)
		return len(bad) == 1 && strings.HasPrefix(bad[0]+"[", field+"[")
	}
	return false
}

// change is a way to change one field of a message.
type change struct {
	path []protoreflect.FieldDescriptor
	set  bool // the message has the field
}

func (c change) name() string {
	name := "spec"
	for _, f := range c.path {
		name += "." + string(f.Name())
	}
	return name
}

// changes are those of all fields of m, at any depth.
func changes(m protoreflect.Message, path []protoreflect.FieldDescriptor) []change {
	var all []change
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		c := change{append(slices.Clone(path), f), m.Has(f)}
		if c.set && isMessage(f) {
			all = append(all, changes(m.Get(f).Message(), c.path)...)
		}
		if !c.set || !isMessage(f) {
			all = append(all, c)
		}
	}
	return all
}

// isMessage says that a field is one message of our own, which has fields to look at.
func isMessage(f protoreflect.FieldDescriptor) bool {
	return f.Kind() == protoreflect.MessageKind && !f.IsList() && !f.IsMap() && f.Message().ParentFile().Package() == "dynod.v1"
}

// apply gives the field another value.
func (c change) apply(m protoreflect.Message) {
	last := len(c.path) - 1
	for _, f := range c.path[:last] {
		m = m.Mutable(f).Message()
	}
	f := c.path[last]
	switch {
	case f.IsMap():
		m.Mutable(f).Map().Set(protoreflect.ValueOfString("ANOTHER").MapKey(), protoreflect.ValueOfString("x"))
	case f.IsList() && f.Kind() == protoreflect.MessageKind:
		m.Mutable(f).List().AppendMutable()
	case f.IsList():
		m.Mutable(f).List().Append(protoreflect.ValueOfString("x"))
	default:
		m.Set(f, another(m, f))
	}
}

// another is a value that the field does not have.
func another(m protoreflect.Message, f protoreflect.FieldDescriptor) protoreflect.Value {
	old := m.Get(f)
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(old.String() + "x")
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(!old.Bool())
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(old.Enum() - 1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(old.Int() + 1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(old.Uint()) + 1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(old.Uint() + 1)
	case protoreflect.MessageKind:
		message := proto.Clone(m.NewField(f).Message().Interface()).ProtoReflect()
		if m.Has(f) {
			message = proto.Clone(old.Message().Interface()).ProtoReflect()
		}
		if seconds := message.Descriptor().Fields().ByName("seconds"); seconds != nil { // Duration or Timestamp
			message.Set(seconds, protoreflect.ValueOfInt64(message.Get(seconds).Int()+1))
		}
		return protoreflect.ValueOfMessage(message)
	default:
		panic("no way yet to change a " + f.Kind().String())
	}
}
