package transport_test

import (
	"os"
	"testing"

	"github.com/dynod/dynod/agent/rpc/transport"
)

func TestExchange(t *testing.T) {
	listener, _ := listenUnix(t)
	creds := transport.NewExchange(transport.PeerCredentials(uint32(os.Geteuid())))
	serve(t, listener, creds)
	target := "unix://" + listener.Addr().String()
	if err := call(t, target, nil); err != nil {
		t.Fatal(err)
	}
	creds.Set(transport.PeerCredentials(uint32(os.Geteuid()) + 1))
	if err := call(t, target, nil); err == nil {
		t.Error("let in by credentials that were exchanged")
	}
	creds.Set(transport.PeerCredentials(uint32(os.Geteuid())))
	if err := call(t, target, nil); err != nil {
		t.Error(err)
	}
}
