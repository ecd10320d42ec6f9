package transport

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// material is what TLSFiles hold.
type material struct {
	pair  tls.Certificate
	roots *x509.CertPool
}

// load reads the files. Its errors name the file.
func (f TLSFiles) load() (material, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return material{}, fmt.Errorf("load certificate %q with key %q: %w", f.Cert, f.Key, err)
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return material{}, fmt.Errorf("load CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return material{}, fmt.Errorf("load CA %q: no certificate in it", f.CA)
	}
	return material{pair: pair, roots: roots}, nil
}

// Certificate is the one of the files, its time of validity unchecked. It fails where a start with them would.
func (f TLSFiles) Certificate() (*x509.Certificate, error) {
	m, err := f.load()
	return m.pair.Leaf, err
}

// reloader keeps the newest usable content of its files. It looks at them at each handshake (three stat calls) instead
// of watching them: no goroutine, and right on every file system and for every way of replacing a file.
type reloader struct {
	files TLSFiles

	mu   sync.Mutex
	seen [3]fileMark
	last material
}

// fileMark tells one content of a file from another. The zero mark is a file that is not there.
type fileMark struct {
	size int64
	time time.Time
	file os.FileInfo // compared with os.SameFile: a rename puts another inode there
}

func newReloader(files TLSFiles) (*reloader, error) {
	r := &reloader{files: files, seen: files.marks()}
	var err error
	r.last, err = files.load()
	return r, err
}

func (r *reloader) current() material {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Marks are taken before the content: a change in between is seen the next time.
	marks := r.files.marks()
	if same(marks, r.seen) {
		return r.last
	}
	r.seen = marks // also after a failure, which is then logged once for each change
	fresh, err := r.files.load()
	if err != nil {
		slog.Error("new certificate files are not usable; the old ones stay in force", "error", err)
		return r.last
	}
	slog.Info("certificate files read again", "cert", r.files.Cert)
	r.last = fresh
	return fresh
}

func (f TLSFiles) marks() [3]fileMark {
	var marks [3]fileMark
	for i, name := range []string{f.Cert, f.Key, f.CA} {
		if info, err := os.Stat(name); err == nil {
			marks[i] = fileMark{size: info.Size(), time: info.ModTime(), file: info}
		}
	}
	return marks
}

func same(a, b [3]fileMark) bool {
	for i := range a {
		if a[i].size != b[i].size || !a[i].time.Equal(b[i].time) || (a[i].file == nil) != (b[i].file == nil) {
			return false
		}
		if a[i].file != nil && !os.SameFile(a[i].file, b[i].file) {
			return false
		}
	}
	return true
}
