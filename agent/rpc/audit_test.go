package rpc_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// audited are the audit lines of a method.
func (h *host) audited(method string) (found []map[string]any) {
	h.t.Helper()
	for line := range strings.Lines(h.log.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			h.t.Fatalf("%v in %q", err, line)
		}
		if entry["msg"] == "call" && entry["method"] == method {
			found = append(found, entry)
		}
	}
	return found
}

func TestAuditLines(t *testing.T) {
	h := newHost(t)
	ctx := limited(t)
	h.start(fullSlug(first))
	_, refused := h.StartDyno(ctx, order(first, "No"))
	h.stop(first, 4)
	_, _ = h.SignalDyno(ctx, &dynodv1.SignalDynoRequest{DynoId: second, Signal: 1})
	_, _ = h.GetDyno(ctx, &dynodv1.GetDynoRequest{DynoId: first})
	if _, err := drain(ctx, h, &dynodv1.DrainHostRequest{}); err != nil {
		t.Fatal(err)
	}
	caller := fmt.Sprintf("unix:uid=%d pid=%d", os.Geteuid(), os.Getpid())
	for method, want := range map[string][]map[string]any{
		"StartDyno": {
			{"level": "INFO", "code": "OK", "dyno": first, "generation": 3.0, "trace": strings.Repeat("1f", 16)},
			{"level": "INFO", "code": "InvalidArgument", "dyno": first, "generation": 1.0, "err": refusal(refused)},
		},
		"StopDyno":   {{"level": "INFO", "code": "OK", "dyno": first, "generation": 4.0}},
		"SignalDyno": {{"level": "INFO", "code": "NotFound", "dyno": second}},
		"DrainHost":  {{"level": "INFO", "code": "OK"}},
		"GetDyno":    {{"level": "DEBUG", "code": "OK", "dyno": first}},
	} {
		eventually(t, "the audit line of "+method, func() bool { return len(h.audited(method)) >= len(want) })
		got := h.audited(method)
		if len(got) != len(want) {
			t.Errorf("%s: got %d lines: %v", method, len(got), got)
			continue
		}
		for i := range want {
			want[i]["caller"] = caller
			for key, value := range want[i] {
				if got[i][key] != value {
					t.Errorf("%s: %s is %v, want %v", method, key, got[i][key], value)
				}
			}
		}
	}
}

// refusal is the message of a status.
func refusal(err error) string {
	_, message, _ := strings.Cut(err.Error(), "desc = ")
	return message
}

// Whoever may call can otherwise fill the disk with calls that are all refused.
func TestAuditLinesAreBounded(t *testing.T) {
	h := newHost(t)
	long := strings.Repeat("x", 1<<16)
	header := &dynodv1.OrderHeader{DynoId: long, TraceId: long, Generation: 1}
	o := order(first, "worker.1")
	o.Spec.Size = long
	for _, call := range []func() error{
		func() error { _, err := h.StartDyno(limited(t), o); return err },
		func() error {
			_, err := h.StartDyno(limited(t), &dynodv1.StartDynoRequest{Header: header, Spec: o.Spec})
			return err
		},
		func() error { _, err := h.StopDyno(limited(t), &dynodv1.StopDynoRequest{Header: header}); return err },
		func() error { _, err := h.GetDyno(limited(t), &dynodv1.GetDynoRequest{DynoId: long}); return err },
	} {
		before := len(h.log.String())
		if call() == nil {
			t.Error("not refused")
		}
		if grown := len(h.log.String()) - before; grown > 8<<10 {
			t.Errorf("one call wrote %d bytes", grown)
		}
	}
}
