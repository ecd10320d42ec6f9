package orderfile_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/dynod/dynod/cmd/dynoctl/orderfile"
)

const yamlOrder = `
header: {dyno_id: 00000000-0000-4000-8000-000000000001, generation: 7}
spec:
  app: shop
  name: web.1
  artifact:
    slug: {url: "https://x.invalid/s", sha256: abc, stack: small}
  command: {line: "bin/web -p $PORT"}
  environment:
    LEVEL: "3"
  boot_timeout: 90s
`

func TestParse(t *testing.T) {
	jsonOrder := "{\n\t\"header\": {\"dynoId\": \"00000000-0000-4000-8000-000000000001\", \"generation\": 7},\n" +
		"\t\"spec\": {\"app\": \"shop\", \"name\": \"web.1\", \"bootTimeout\": \"90s\", \"environment\": {\"LEVEL\": \"3\"}}}"
	for _, text := range []string{yamlOrder, jsonOrder} {
		order, err := orderfile.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if h := order.GetHeader(); h.GetDynoId() != "00000000-0000-4000-8000-000000000001" || h.GetGeneration() != 7 {
			t.Errorf("got header %v", h)
		}
		s := order.GetSpec()
		if s.GetApp() != "shop" || s.GetName() != "web.1" || s.GetBootTimeout().GetSeconds() != 90 || s.GetEnvironment()["LEVEL"] != "3" {
			t.Errorf("got spec %v", s)
		}
	}
}

func TestParseCompletes(t *testing.T) {
	first, err := orderfile.Parse([]byte("spec: {app: a}"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := orderfile.Parse([]byte("spec: {app: a}"))
	if err != nil {
		t.Fatal(err)
	}
	id, err := uuid.Parse(first.GetHeader().GetDynoId())
	if err != nil || id.Version() != 4 {
		t.Errorf("got id %v %v, want a random UUID", id, err)
	}
	if first.GetHeader().GetDynoId() == second.GetHeader().GetDynoId() {
		t.Error("two orders got one id")
	}
	if g := first.GetHeader().GetGeneration(); g != 1 {
		t.Errorf("got generation %d, want 1", g)
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"spec: {app: a, colour: red}":            `parse order: unknown field "colour"`,
		"spec: {app: a, app: b}":                 `key "app" already set`,
		"spec: {environment: {N: 3}}":            `parse order: invalid value for string field value: 3`,
		"{\"spec\": {\"app\": \"a\"":             `parse order: unexpected EOF`,
		"spec: {app: a":                          `parse order: `,
		"":                                       `parse order: `,
		"header: {generation: 1}":                `parse order: it has no spec`,
		"spec: {boot_timeout: soon}":             `invalid google.protobuf.Duration value "soon"`,
		"spec: {restart_policy: {kind: ALWAYS}}": `invalid value for enum`,
	} {
		_, err := orderfile.Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestSetEnv(t *testing.T) {
	order, err := orderfile.Parse([]byte(yamlOrder))
	if err != nil {
		t.Fatal(err)
	}
	if err := orderfile.SetEnv(order, []string{"LEVEL=4", "URL=a=b", "EMPTY="}); err != nil {
		t.Fatal(err)
	}
	got := order.GetSpec().GetEnvironment()
	if len(got) != 3 || got["LEVEL"] != "4" || got["URL"] != "a=b" || got["EMPTY"] != "" {
		t.Errorf("got %v", got)
	}
	for _, bad := range []string{"LEVEL", "=x"} {
		if err := orderfile.SetEnv(order, []string{bad}); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(yamlOrder))
	f.Add([]byte(`{"spec": {"environment": {"A": "b"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		order, err := orderfile.Parse(data)
		if (order == nil) == (err == nil) {
			t.Errorf("got %v and %v", order, err)
		}
		if order != nil && (order.GetSpec() == nil || order.GetHeader().GetDynoId() == "" || order.GetHeader().GetGeneration() == 0) {
			t.Errorf("incomplete order %v", order)
		}
	})
}
