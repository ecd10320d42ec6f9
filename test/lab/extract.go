package lab

import (
	"errors"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// Extract writes the files of the image in an archive that this package made into a tar.
func Extract(archive, file string) error {
	img, err := open(archive)
	if err != nil {
		return err
	}
	to, err := os.Create(file)
	if err != nil {
		return err
	}
	from := mutate.Extract(img)
	_, err = io.Copy(to, from)
	return errors.Join(err, from.Close(), to.Close())
}
