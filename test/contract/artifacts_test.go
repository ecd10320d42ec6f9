package contract_test

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/codes"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

func artifacts() []sentence {
	const notStarted = "Error R99 (Platform error) -> The dyno could not be started"
	failed := []string{notStarted, "State changed from starting to crashed"}
	return []sentence{
		{"A1", "A slug is fetched from the URL in the order, by HTTPS.", func(s *stage) error { return s.fetched("plain").first }},
		{"A2", "A URL without TLS is refused.", func(s *stage) error {
			return s.refused(s.order("run.1", "true", url("http://"+lab.OutsideAddress+"/slug.tgz")), codes.InvalidArgument)
		}},
		{"A3", "What of a slug lies outside `./app` is ignored.", func(s *stage) error { return s.strange().stdout("inside", "no /srv/extra") }},
		{"A4", "A slug on the host is not fetched again for the next dyno, wherever its URL leads: it is known by its digest.", func(s *stage) error { return s.fetched("plain").again }},
		{"A5", "Dynos of one release started at once share one fetch and one unpacking.", (*stage).together},
		{"A6", "A fetch that breaks off is resumed where it broke.", (*stage).resumed},
		{"A7", "A slug of more than the host's limit, 500 MiB unless the host has another, is not fetched, and nothing is executed.", func(s *stage) error {
			var sent atomic.Int64
			l := s.play(s.order("worker.1", "true", url(s.outside.slug("huge", endless(&sent))), digest(strings.Repeat("1", 64))))
			return errors.Join(l.exit(crashed, -1, "R99"), l.platform(failed...), unless(sent.Load() < 64*mib, "%d bytes were fetched", sent.Load()))
		}},
		{"A8", "The order names the stack under a slug; one that the host does not have is refused.", func(s *stage) error {
			return errors.Join(s.fetched("plain").first, s.refused(s.order("run.1", "true", func(o *dynodv1.StartDynoRequest) { o.Spec.Artifact.GetSlug().Stack = "none" }), codes.InvalidArgument))
		}},
		{"A9", "An image is pulled by its digest with the credentials in the order.", func(s *stage) error { return s.imageRun(&dynodv1.Command{Line: "echo pulled"}).stdout("pulled") }},
		{"A10", "With wrong credentials it is not, and nothing is executed.", func(s *stage) error {
			o := s.imageOrder("private", private, "worker.1", &dynodv1.Command{Line: "echo pulled"})
			o.Spec.OneOff, o.Spec.Artifact.GetImage().Password = false, "wrong"
			l := s.play(o)
			return errors.Join(l.exit(crashed, -1, "R99"), l.platform(failed...), l.stdout())
		}},
		{"A11", "An artifact may be fetched ahead of its order, which then fetches nothing.", (*stage).ahead},
		{"A12", "The host's cache names a slug by its digest and tells how many dynos use it.", (*stage).listed},
		{"A13", "Pruning removes artifacts that no dyno uses, and those alone.", func(s *stage) error { return s.another("sizes", "").pruned() }},
	}
}

func url(url string) rig.Change {
	return func(o *dynodv1.StartDynoRequest) { o.Spec.Artifact.GetSlug().Url = url }
}

func digest(sum string) rig.Change {
	return func(o *dynodv1.StartDynoRequest) { o.Spec.Artifact.GetSlug().Sha256 = sum }
}

// served is a slug that the outside serves, and how often it was asked for.
type served struct {
	url, sum string
	requests *atomic.Int64
	err      error
}

func (v served) artifact(o *dynodv1.StartDynoRequest) { url(v.url)(o); digest(v.sum)(o) }

// serve packs a slug of 4 MiB that no other check has, with a file `name`, and serves it.
func (s *stage) serve(name string, by func(file string, n int64, w http.ResponseWriter, r *http.Request)) served {
	noise := make([]byte, 4*mib)
	seed := sha256.Sum256([]byte(name))
	for i := range noise { // a compressor finds nothing in it
		if i%len(seed) == 0 {
			seed = sha256.Sum256(seed[:])
		}
		noise[i] = seed[i%len(seed)]
	}
	file, sum, err := lab.Slug(map[string]lab.File{"name": {Data: name + "\n"}, "noise": {Data: string(noise)}})
	v := served{sum: sum, requests: new(atomic.Int64), err: err}
	v.url = s.outside.slug(name, func(w http.ResponseWriter, r *http.Request) { by(file, v.requests.Add(1), w, r) })
	return v
}

func whole(file string, _ int64, w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) }

// fetching is what two dynos of one slug, one after the other, said.
type fetching struct{ first, again error }

func (s *stage) fetched(name string) fetching {
	return scene(s, "fetched "+name, func() fetching {
		v := s.serve(name, whole)
		first := s.run("cat name", v.artifact)
		asked := v.requests.Load()
		v.url = "https://" + outsideAddress + "/slugs/nothing"
		again := s.run("cat name", v.artifact)
		return fetching{
			errors.Join(v.err, first.stdout(name), unless(asked == 1, "%d requests", asked)),
			errors.Join(v.err, again.stdout(name), unless(v.requests.Load() == asked, "fetched again")),
		}
	})
}

func (s *stage) together() error {
	v := s.serve("together", whole)
	ended := make(chan error)
	for range 10 {
		go func() { ended <- s.run("cat name", v.artifact, memoryOf(64*mib)).stdout("together") }()
	}
	errs := []error{v.err}
	for range 10 {
		errs = append(errs, <-ended)
	}
	return errors.Join(append(errs, unless(v.requests.Load() == 1, "%d requests", v.requests.Load()))...)
}

func (s *stage) resumed() error {
	ranges := make(chan string, 8) // of the later requests
	v := s.serve("broken", func(file string, n int64, w http.ResponseWriter, r *http.Request) {
		if n > 1 {
			ranges <- r.Header.Get("Range")
			http.ServeFile(w, r, file)
			return
		}
		data, _ := os.ReadFile(file)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Header().Set("Accept-Ranges", "bytes")
		_, _ = w.Write(data[:len(data)/2])
		panic(http.ErrAbortHandler)
	})
	l := s.run("cat name", v.artifact)
	return errors.Join(v.err, l.stdout("broken"), from(ranges))
}

// from checks that there was one later request, for a part.
func from(ranges chan string) error {
	if len(ranges) != 1 {
		return fmt.Errorf("%d later requests", len(ranges))
	}
	part := <-ranges
	return unless(strings.HasPrefix(part, "bytes=") && !strings.HasPrefix(part, "bytes=0-"), "the later request was for %q", part)
}

// endless says that it has 600 MiB, and counts what is taken of them.
func endless(sent *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(600*mib))
		block := make([]byte, mib)
		for range 600 {
			n, err := w.Write(block)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
}

// strange is a dyno of a slug with more in it than an app.
func (s *stage) strange() life {
	return scene(s, "strange", func() life {
		file := filepath.Join(s.Lab.Dir(), "strange.tgz")
		sum, err := writeTar(file, "./app/file", "./srv/extra", "etc/passwd", "./application/file")
		l := s.run("[ -e /app/file ] && echo inside; [ -e /srv/extra ] || echo no /srv/extra", url("file://"+file), digest(sum))
		l.err = errors.Join(l.err, err)
		return l
	})
}

// writeTar writes a gzip tar with empty files and returns its digest.
func writeTar(file string, names ...string) (string, error) {
	out, err := os.Create(file)
	if err != nil {
		return "", err
	}
	defer out.Close()
	hash := sha256.New()
	zw := gzip.NewWriter(io.MultiWriter(out, hash))
	tw := tar.NewWriter(zw)
	for _, name := range names {
		err = errors.Join(err, tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}))
	}
	err = errors.Join(err, tw.Close(), zw.Close())
	return hex.EncodeToString(hash.Sum(nil)), err
}
