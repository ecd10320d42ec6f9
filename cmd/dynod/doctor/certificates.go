package doctor

import (
	"context"
	"crypto/x509"
	"os"
	"time"

	"github.com/dynod/dynod/agent/rpc/transport"
	"github.com/dynod/dynod/cmd/dynod/doctor/report"
)

// soon is how long before its end a certificate is to be renewed.
const soon = 14 * 24 * time.Hour

func (h Host) certificates(_ context.Context, n *report.Notes) {
	api, up := h.Config.API, h.Config.Upstream
	for _, door := range []struct {
		setting string
		files   transport.TLSFiles
	}{
		{"api", transport.TLSFiles{Cert: api.Cert, Key: api.Key, CA: api.CA}},
		{"upstream", transport.TLSFiles{Cert: up.Cert, Key: up.Key, CA: up.CA}},
	} {
		if door.files.Cert != "" {
			checkFiles(n, door.setting, door.files)
		}
	}
	checkAuthorities(n, "logs.sink_ca", h.Config.Logs.SinkCA)
	checkAuthorities(n, "attach.rendezvous_ca", h.Config.Attach.RendezvousCA)
	if n.All == nil {
		n.OK("none are configured")
	}
}

func checkFiles(n *report.Notes, setting string, files transport.TLSFiles) {
	cert, err := files.Certificate()
	if err != nil {
		n.Fail("set "+setting+".cert, .key and .ca to PEM files that belong together", "%s: %v", setting, err)
		return
	}
	if info, err := os.Stat(files.Key); err == nil && info.Mode().Perm()&0o077 != 0 {
		n.Warn("chmod 600 "+files.Key, "%s.key: %s is open to others (mode %04o)", setting, files.Key, info.Mode().Perm())
	}
	end := cert.NotAfter.Format(time.RFC3339)
	renew := "put a new one there; it is read again without a restart"
	switch now := time.Now(); {
	case now.Before(cert.NotBefore):
		n.Fail("is the clock right?", "%s.cert: %s is not valid before %s", setting, files.Cert, cert.NotBefore.Format(time.RFC3339))
	case now.After(cert.NotAfter):
		n.Fail(renew, "%s.cert: %s has expired at %s", setting, files.Cert, end)
	case now.Add(soon).After(cert.NotAfter):
		n.Warn(renew, "%s.cert: %s expires at %s", setting, files.Cert, end)
	default:
		n.OK("%s: valid until %s", setting, end)
	}
}

func checkAuthorities(n *report.Notes, setting, file string) {
	hint := "must be a PEM file with certificates"
	if file == "" {
		return
	}
	switch pem, err := os.ReadFile(file); {
	case err != nil:
		n.Fail(hint, "%s: %v", setting, err)
	case !x509.NewCertPool().AppendCertsFromPEM(pem):
		n.Fail(hint, "%s: no certificate in %s", setting, file)
	default:
		n.OK("%s: readable", setting)
	}
}
