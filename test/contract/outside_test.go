package contract_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path"
	"path/filepath"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

// outsideAddress is where the outside serves slugs and images by HTTPS.
const outsideAddress = lab.OutsideAddress + ":8443"

// outside is what dynos and agent find in the lab's outside: a store of slugs, a registry that wants credentials, and
// ports that answer.
type outside struct {
	r      *rig.Rig
	cert   tls.Certificate
	server *http.Server
	ports  []net.Listener

	pushing sync.Mutex // one by one: layers that the registry has already are not sent again

	mu    sync.Mutex
	slugs map[string]http.HandlerFunc
}

// serveOutside begins to serve with the certificate that the lab's one authority gave to its outside address.
func serveOutside(r *rig.Rig) (*outside, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(r.Lab.Dir(), "certs/plane.pem"), filepath.Join(r.Lab.Dir(), "certs/plane-key.pem"))
	if err != nil {
		return nil, err
	}
	o := &outside{r: r, cert: cert, slugs: map[string]http.HandlerFunc{}}
	o.server = &http.Server{Handler: o.handler(), ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: patience}
	lis, err := o.listen(outsideAddress)
	if err != nil {
		return nil, err
	}
	go func() { _ = o.server.Serve(tls.NewListener(lis, &tls.Config{Certificates: []tls.Certificate{cert}})) }()
	return o, nil
}

// handler serves images below /v2/, to who knows the password, and slugs by their paths.
func (o *outside) handler() http.Handler {
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != owner.Username || password != owner.Password {
			w.Header().Set("WWW-Authenticate", `Basic realm="images"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		images.ServeHTTP(w, r)
	})
	mux.HandleFunc("/slugs/", func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		serve := o.slugs[path.Base(r.URL.Path)]
		o.mu.Unlock()
		if serve == nil {
			http.NotFound(w, r)
			return
		}
		serve(w, r)
	})
	return mux
}

// owner is the registry's only account.
var owner = authn.AuthConfig{Username: "shop", Password: "open sesame"}

// slug has requests for a slug answered by serve, and returns its URL.
func (o *outside) slug(name string, serve http.HandlerFunc) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.slugs[name] = serve
	return "https://" + outsideAddress + "/slugs/" + name + "?signature=secret"
}

// push puts an image into the registry and returns its reference by digest.
func (o *outside) push(app string, img v1.Image) (string, error) {
	sum, err := img.Digest()
	if err != nil {
		return "", err
	}
	ref, err := name.NewDigest(outsideAddress + "/" + app + "@" + sum.String())
	if err != nil {
		return "", err
	}
	o.pushing.Lock()
	defer o.pushing.Unlock()
	to := o.r.Lab.Client(o.r.Lab.Outside()).Transport.(*http.Transport)
	to.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // it is this process's own server
	return ref.String(), remote.Write(ref, img, remote.WithAuth(authn.FromConfig(owner)), remote.WithTransport(to))
}

// accept opens a port of the outside that accepts connections.
func (o *outside) accept(port int) error {
	lis, err := o.listen(fmt.Sprintf("%s:%d", lab.OutsideAddress, port))
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.ports = append(o.ports, lis)
	o.mu.Unlock()
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	return nil
}

func (o *outside) listen(address string) (lis net.Listener, err error) {
	err = o.r.Lab.Do(o.r.Lab.Outside(), func() (err error) {
		lis, err = net.Listen("tcp", address)
		return err
	})
	return lis, err
}

func (o *outside) close() {
	_ = o.server.Close()
	for _, lis := range o.ports {
		_ = lis.Close()
	}
}
