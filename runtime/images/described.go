package images

import (
	"sync"

	"github.com/opencontainers/go-digest"
)

// mostDescribed bounds the memory that images take which may not be here any more.
const mostDescribed = 128

// described remembers what images say about themselves, by the digests that stand for all of it: to read it takes a dozen
// calls to containerd. Whether an image is here it does not know.
type described struct {
	mu       sync.Mutex
	byDigest map[digest.Digest]Image
}

func (d *described) get(of digest.Digest) (Image, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	image, known := d.byDigest[of]
	return image, known
}

func (d *described) put(of digest.Digest, image Image) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.byDigest) >= mostDescribed || d.byDigest == nil {
		d.byDigest = map[digest.Digest]Image{}
	}
	d.byDigest[of] = image
}
