package host

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	_ "embed" // of the script
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/dynod/dynod/test/lab"
)

// Releases are those of Debian that hosts are made of, the oldest first.
var Releases = []string{"bookworm", "trixie", "forky"}

//go:embed image.sh
var script string

// Image is a disk that hosts begin with, the kernel that boots it, and the keys to get in. A host writes to a layer of its
// own above that disk.
type Image struct{ dir string }

func (i Image) file(name string) string { return filepath.Join(i.dir, name) }

// Build makes the image of a release. It takes a minute or two and apt's mirror the first time; then it lies in build/cache
// until the script that makes it changes.
func Build(ctx context.Context, release string) (Image, error) {
	sum := sha256.Sum256([]byte(script))
	dir, err := lab.Cached("host-"+release+"-"+hex.EncodeToString(sum[:8]), func(dir string) error {
		return build(ctx, release, dir)
	})
	return Image{dir}, err
}

func build(ctx context.Context, release, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	authorized, err := makeKey(filepath.Join(dir, "key"))
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	cmd := exec.CommandContext(ctx, "bash", "-s", release, dir, authorized)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make image of %s: %w\n%s", release, err, out)
	}
	return nil
}

// makeKey writes a private key and gives the public one as authorized_keys has it.
func makeKey(path string) (string, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return "", err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", err
	}
	return string(ssh.MarshalAuthorizedKey(key)), os.WriteFile(path, pem.EncodeToMemory(block), 0o600)
}

// login is how to get into a host of the image, and how to know it.
func (i Image) login() (*ssh.ClientConfig, error) {
	private, errKey := os.ReadFile(i.file("key"))
	public, errPub := os.ReadFile(i.file("host.pub"))
	if err := errors.Join(errKey, errPub); err != nil {
		return nil, err
	}
	signer, errKey := ssh.ParsePrivateKey(private)
	known, _, _, _, errPub := ssh.ParseAuthorizedKey(public)
	if err := errors.Join(errKey, errPub); err != nil {
		return nil, err
	}
	return &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.FixedHostKey(known), HostKeyAlgorithms: []string{known.Type()},
	}, nil
}
