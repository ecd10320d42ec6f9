package slugs_test

import (
	"archive/tar"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime/slugs"
	"github.com/dynod/dynod/runtime/transfer"
)

// flaky is a server of one file that answers every request as the next of its answers does; after the last, as that.
type flaky struct {
	*httptest.Server
	data    []byte
	answers []answer

	mu    sync.Mutex
	asked []string // Range and If-Range of each request
}

// answer serves data from a byte on.
type answer struct {
	status  int  // 0: 206 for a range, else 200
	whole   bool // ignore the range
	bytes   int  // cut the connection after so many; 0: do not
	stall   bool // instead of cutting it, send nothing
	etag    string
	length  int   // claimed Content-Length; 0: the true one
	partial int64 // claimed beginning of the range, if not 0
}

func newFlaky(t *testing.T, data []byte, answers ...answer) *flaky {
	t.Helper()
	f := &flaky{data: data, answers: answers}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	a := f.answers[min(len(f.asked), len(f.answers)-1)]
	f.asked = append(f.asked, strings.TrimSpace(r.Header.Get("Range")+" "+r.Header.Get("If-Range")))
	f.mu.Unlock()
	if a.status != 0 {
		w.WriteHeader(a.status)
		return
	}
	from := 0
	if header := r.Header.Get("Range"); header != "" && !a.whole {
		from, _ = strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(header, "bytes="), "-"))
	}
	if a.etag != "" {
		w.Header().Set("ETag", a.etag)
	}
	length := len(f.data) - from
	if a.length != 0 {
		length = a.length
	}
	w.Header().Set("Content-Length", strconv.Itoa(length))
	if from > 0 {
		begin := int64(from)
		if a.partial != 0 {
			begin = a.partial
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", begin, len(f.data)-1, len(f.data)))
		w.WriteHeader(http.StatusPartialContent)
	}
	rest := f.data[from:]
	if a.bytes > 0 {
		rest = rest[:min(a.bytes, len(rest))]
	}
	_, _ = w.Write(rest)
	if a.stall {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	if len(rest) < length {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func (f *flaky) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// stall is short only where a test waits for it.
func stall(answers []answer) time.Duration {
	if slices.ContainsFunc(answers, func(a answer) bool { return a.stall }) {
		return 200 * time.Millisecond
	}
	return time.Minute
}

// big is a slug of about 300 KB that compresses badly.
func big(t *testing.T) []byte {
	t.Helper()
	var entries []tar.Header
	for range 300 {
		entries = append(entries, file("./app/"+rand.Text()+rand.Text()+rand.Text()))
	}
	return pack(t, entries)
}

func TestBrokenDownloadIsContinued(t *testing.T) {
	data := big(t)
	third := len(data) / 3
	at := func(n int) string { return fmt.Sprintf("bytes=%d-", n) }
	for name, test := range map[string]struct {
		answers []answer
		asked   []string
	}{
		"cut off":        {[]answer{{bytes: third, etag: `"1"`}, {bytes: third, etag: `"1"`}, {etag: `"1"`}}, []string{"", at(third) + ` "1"`, at(2*third) + ` "1"`}},
		"no validator":   {[]answer{{bytes: third}, {}}, []string{"", at(third)}},
		"weak validator": {[]answer{{bytes: third, etag: `W/"1"`}, {etag: `W/"1"`}}, []string{"", at(third)}},
		"ranges ignored": {[]answer{{bytes: third, etag: `"1"`}, {bytes: 2 * third, whole: true, etag: `"1"`}, {whole: true, etag: `"1"`}}, []string{"", at(third) + ` "1"`, at(2*third) + ` "1"`}},
		"server busy":    {[]answer{{bytes: third}, {status: 503}, {status: 429}, {}}, []string{"", at(third), at(third), at(third)}},
		"busy at first":  {[]answer{{status: 502}, {}}, []string{"", ""}},
		"stalled":        {[]answer{{bytes: third, stall: true}, {}}, []string{"", at(third)}},
		"another part":   {[]answer{{bytes: third}, {partial: 7}, {}}, []string{"", at(third), at(third)}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlaky(t, data, test.answers...)
			s := newSource(t, func(c *slugs.Config) { c.AllowHTTP = true; c.Stall = stall(test.answers) })
			slug := s.write(data)
			slug.URL = f.URL + "/slug"
			var progress transfer.Progress
			must(t, s.store.Fetch(t.Context(), slug, &progress))
			dir, err := s.store.Path(slug.SHA256)
			must(t, err)
			entries, err := os.ReadDir(filepath.Join(dir, "app"))
			if err != nil || len(entries) != 300 {
				t.Errorf("%d files, %v", len(entries), err)
			}
			if got := strings.Join(f.requests(), "|"); got != strings.Join(test.asked, "|") {
				t.Errorf("asked %q", got)
			}
			if fetched, total := progress.Now(); fetched != int64(len(data)) || total != int64(len(data)) {
				t.Errorf("progress %d of %d, not %d", fetched, total, len(data))
			}
		})
	}
}

func TestDownloadsThatAreGivenUp(t *testing.T) {
	data := big(t)
	third := len(data) / 3
	for name, test := range map[string]struct {
		answers []answer
		tries   int
		is      func(error) bool
	}{
		"gone in the middle":   {[]answer{{bytes: third}, {status: 404}}, 2, errdefs.IsNotFound},
		"signature over":       {[]answer{{bytes: third}, {status: 403}}, 2, errdefs.IsPermissionDenied},
		"refused":              {[]answer{{status: 403}}, 1, errdefs.IsPermissionDenied},
		"always down":          {[]answer{{status: 500}}, 6, errdefs.IsUnavailable},
		"no further":           {[]answer{{bytes: third}, {status: 500}}, 6, errdefs.IsUnavailable},
		"always stalled":       {[]answer{{bytes: 1, stall: true}, {bytes: 1, stall: true, partial: 9}}, 6, errdefs.IsUnavailable},
		"replaced":             {[]answer{{bytes: third, etag: `"1"`}, {whole: true, etag: `"2"`}}, 2, errdefs.IsUnavailable},
		"said to be too large": {[]answer{{length: 2 << 20}}, 1, errdefs.IsOutOfRange},
		"longer than it was said": {[]answer{{length: third, bytes: third}}, 1, func(err error) bool {
			_, is := errors.AsType[*slugs.ChecksumError](err)
			return is && errdefs.IsDataLoss(err)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlaky(t, data, test.answers...)
			s := newSource(t, func(c *slugs.Config) { c.AllowHTTP = true; c.Stall = stall(test.answers) })
			slug := s.write(data)
			slug.URL = f.URL + "/slug?signature=hidden"
			err := s.store.Fetch(t.Context(), slug, &transfer.Progress{})
			if !test.is(err) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("got %v", err)
			}
			if n := len(f.requests()); n != test.tries {
				t.Errorf("%d requests", n)
			}
			if _, err := s.store.Path(slug.SHA256); !errdefs.IsNotFound(err) {
				t.Errorf("it is there: %v", err)
			}
		})
	}
}

func TestRemovedSlug(t *testing.T) {
	s := newSource(t)
	dir, err := s.unpacked(file("./app/x"))
	must(t, err)
	all, err := s.store.List()
	if err != nil || len(all) != 1 || all[0].SHA256 != filepath.Base(dir) || all[0].Bytes < 4096 {
		t.Errorf("list %+v, %v", all, err)
	}
	hidden, err := s.store.Hide(all[0].SHA256)
	must(t, err)
	if _, err := os.Stat(filepath.Join(hidden, all[0].SHA256, "app", "x")); err != nil {
		t.Errorf("hidden, not deleted: %v", err)
	}
	must(t, os.RemoveAll(hidden))
	must(t, s.store.Remove(all[0].SHA256))
	if left, err := s.store.List(); err != nil || len(left) != 0 {
		t.Errorf("left %+v, %v", left, err)
	}
	s.store.Close()
	if left, _ := os.ReadDir(filepath.Dir(dir)); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}
