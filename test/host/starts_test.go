package host_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/dynod/dynod/agent/dyno"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/host"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/root"
)

const (
	// rounds are starts of each kind.
	rounds = 15
	// most is what a start may take, as a part of ctr's.
	most = 0.40
	// mark tells the host's clock when it begins, and then when it listens.
	mark = "exec ./mark"
)

// BenchmarkStarts has one application started by the agent and by ctr, taking turns: from the order of a client that is connected, as
// control planes are, or somebody's typing of ctr's command, until the application's first act. One dyno runs beside, as hosts have
// some. The figures are medians.
func BenchmarkStarts(b *testing.B) {
	if *release == "" {
		b.Skip("boots a host: make bench-host")
	}
	root.Needed(b)
	image, err := host.Build(b.Context(), *release)
	check(b, err)
	s := open(b, image, nil)
	s.bringMark()
	s.install(older)
	s.until("active", "systemctl is-active dynod")
	s.beginOurs()
	var ours, ctr []float64
	for b.Loop() {
		for n := range rounds + 1 {
			o, c := s.startOurs(), s.startCtr(n)
			if n > 0 { // what each fetches once is no start's
				ours, ctr = append(ours, o), append(ctr, c)
			}
		}
	}
	slices.Sort(ours)
	slices.Sort(ctr)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(1000*ours[len(ours)/2], "ours-p50-ms")
	b.ReportMetric(1000*ctr[len(ctr)/2], "ctr-p50-ms")
	ratio := ours[len(ours)/2] / ctr[len(ctr)/2]
	if b.ReportMetric(ratio, "ours/ctr"); ratio > most {
		b.Errorf("a start takes %.2f times as long as ctr's, at most %.2f is promised", ratio, most)
	}
}

// bringMark brings the application as a slug and as an image.
func (s *stage) bringMark() {
	s.t.Helper()
	ctx := s.t.Context()
	program, err := lab.Mark(ctx)
	check(s.t, err)
	file := lab.File{From: program, Mode: 0o755}
	slug, sum, err := lab.Slug(map[string]lab.File{"mark": file})
	check(s.t, err)
	s.put("/srv/mark.tgz", slug)
	s.slugs["mark"] = sum
	archive, err := lab.Image(ctx, map[string]lab.File{"app/mark": file}, v1.Config{WorkingDir: "/app"})
	check(s.t, err)
	s.put("/srv/mark.tar", archive)
	s.run("ctr images import /srv/mark.tar")
	order, err := lab.Order(ctx)
	check(s.t, err)
	s.put("/srv/order", order)
	s.run("chmod +x /srv/order")
}

// uptime is the clock by which the application tells, in seconds, to a hundredth.
const uptime = "cut -d' ' -f1 /proc/uptime"

// beginOurs starts a dyno and gives the clock as it was then.
func (s *stage) beginOurs() (id, began string) {
	s.t.Helper()
	o := s.order("mark", mark)
	order, err := protojson.Marshal(o)
	check(s.t, err)
	s.write("/root/order.json", order)
	return o.GetHeader().GetDynoId(), s.run("/srv/order /root/order.json")
}

// startOurs gives the seconds of one start.
func (s *stage) startOurs() float64 {
	s.t.Helper()
	id, began := s.beginOurs()
	s.until("1", "dynoctl logs --raw -s app %s | grep -c bound", id)
	said := s.run("dynoctl logs --raw -s app %s", id)
	s.stop(id)
	s.await(id, dynodv1.Phase_PHASE_DOWN)
	return s.took(began, said)
}

// startCtr is the same with ctr, which has neither network nor limits.
func (s *stage) startCtr(n int) float64 {
	s.t.Helper()
	var words []string
	for _, word := range (dyno.Spec{Command: dyno.Command{Line: mark}}).Arguments(dyno.Image{}) {
		words = append(words, "'"+strings.ReplaceAll(word, "'", `'\''`)+"'")
	}
	name := fmt.Sprintf("mark-%d", n)
	began := s.run("%s; nohup ctr run --rm --cwd /app --env PORT=5000 dynod.local/stack/image:latest %s %s </dev/null >/root/said 2>&1 &", uptime, name, strings.Join(words, " "))
	s.until("1", "grep -c bound /root/said")
	said := s.run("cat /root/said")
	s.run("ctr tasks kill -s SIGTERM %s", name)
	s.until("", "ctr containers ls -q | grep %s", name)
	return s.took(began, said)
}

// took is from a reading of the clock, in seconds, until the application's own.
func (s *stage) took(began, said string) float64 {
	s.t.Helper()
	var from, until float64
	if _, err := fmt.Sscan(began, &from); err != nil {
		s.t.Fatal(err)
	}
	if _, err := fmt.Sscanf(said, "main %f", &until); err != nil {
		s.t.Fatalf("%v in %q", err, said)
	}
	return until/1e9 - from
}
