package doctor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dynod/dynod/cmd/dynod/config"
	"github.com/dynod/dynod/cmd/dynod/doctor/report"
)

// certificate writes one that is valid for so long, and its key.
func certificate(t *testing.T, from, to time.Duration) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert = write(t, filepath.Join(dir, "cert"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o644)
	return cert, write(t, filepath.Join(dir, "key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})), 0o600)
}

func TestCertificates(t *testing.T) {
	const day = 24 * time.Hour
	good, key := certificate(t, -day, 90*day)
	old, oldKey := certificate(t, -2*day, -day)
	late, lateKey := certificate(t, -day, 13*day)
	early, earlyKey := certificate(t, day, 90*day)
	for what, c := range map[string]struct {
		cert, key, ca string
		status        report.Status
		words         string
	}{
		"good":          {good, key, good, report.OK, "valid until"},
		"expired":       {old, oldKey, good, report.Failure, "has expired at"},
		"expires soon":  {late, lateKey, good, report.Warning, "expires at"},
		"not yet valid": {early, earlyKey, good, report.Failure, "is not valid before"},
		"another's key": {good, oldKey, good, report.Failure, "private key does not match"},
		"no key":        {good, "/nowhere", good, report.Failure, "/nowhere"},
		"no authority":  {good, key, key, report.Failure, "no certificate in it"},
	} {
		got := look(t, "certificates", func(cfg *config.Config) { cfg.API.Cert, cfg.API.Key, cfg.API.CA = c.cert, c.key, c.ca })
		found(t, what, got, c.status, "api", c.words)
		got = look(t, "certificates", func(cfg *config.Config) { cfg.Upstream.Cert, cfg.Upstream.Key, cfg.Upstream.CA = c.cert, c.key, c.ca })
		found(t, what, got, c.status, "upstream", c.words)
	}
	found(t, "none", look(t, "certificates", func(*config.Config) {}), report.OK, "none are configured")
	for _, set := range []func(*config.Config, string){
		func(c *config.Config, file string) { c.Logs.SinkCA = file },
		func(c *config.Config, file string) { c.Attach.RendezvousCA = file },
	} {
		found(t, "authority", look(t, "certificates", func(c *config.Config) { set(c, good) }), report.OK, "readable")
		found(t, "no authority", look(t, "certificates", func(c *config.Config) { set(c, key) }), report.Failure, "no certificate in")
		found(t, "no file", look(t, "certificates", func(c *config.Config) { set(c, "/nowhere") }), report.Failure, "no such file")
	}
}

func TestOpenKey(t *testing.T) {
	cert, key := certificate(t, -time.Hour, 1000*time.Hour)
	if err := os.Chmod(key, 0o640); err != nil {
		t.Fatal(err)
	}
	got := look(t, "certificates", func(c *config.Config) { c.API.Cert, c.API.Key, c.API.CA = cert, key, cert })
	found(t, "open key", got, report.Warning, "is open to others (mode 0640)")
}
