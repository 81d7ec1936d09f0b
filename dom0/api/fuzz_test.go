package api

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"gozen/hypercalls/gen/gozen/v1/gozenv1connect"
)

// fuzzed are the methods of one request and one answer, but Shutdown.
var fuzzed = []string{
	gozenv1connect.HostServiceGetInfoProcedure,
	gozenv1connect.GuestServiceCreateProcedure,
	gozenv1connect.GuestServiceListProcedure,
	gozenv1connect.GuestServiceGetProcedure,
	gozenv1connect.GuestServiceStartProcedure,
	gozenv1connect.GuestServiceStopProcedure,
	gozenv1connect.GuestServiceKillProcedure,
	gozenv1connect.GuestServiceDeleteProcedure,
	gozenv1connect.GuestServiceWaitProcedure,
	gozenv1connect.GuestServiceStatsProcedure,
	gozenv1connect.VolumeServiceCreateProcedure,
	gozenv1connect.VolumeServiceGetProcedure,
	gozenv1connect.VolumeServiceDeleteProcedure,
	gozenv1connect.ImageServiceGetProcedure,
	gozenv1connect.ImageServiceDeleteProcedure,
}

// Whatever a client sends, it is never the daemon that fails.
func FuzzRequest(f *testing.F) {
	for i, body := range []string{
		`{}`, `{"spec":{"name":"web","kernel":"vmlinuz"}}`, `{}`, `{"name":"web"}`, `{"name":"web"}`,
		`{"name":"web","timeout":"1s"}`, `{"name":"../x"}`, `{"name":"web","force":true}`,
		`{"name":"web","states":["GUEST_STATE_STOPPED"],"timeout":"0.001s"}`, `{"name":""}`,
		`{"name":"disk","sizeBytes":"512"}`, `{"name":"disk"}`, `{"name":"disk"}`, "\x0a\x03web", `[`,
	} {
		f.Add(uint8(i), i%2 == 0, []byte(body))
	}
	b := newBench(f)
	f.Fuzz(func(t *testing.T, method uint8, json bool, body []byte) {
		path := fuzzed[int(method)%len(fuzzed)]
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(body))
		req.Header.Set("Content-Type", "application/proto")
		if json {
			req.Header.Set("Content-Type", "application/json")
		}
		// A guest that waits for nothing would hold up the test.
		if path == gozenv1connect.GuestServiceWaitProcedure {
			req.Header.Set("Connect-Timeout-Ms", "1")
		}
		resp := httptest.NewRecorder()
		b.handler.ServeHTTP(resp, req)
		if resp.Code == http.StatusInternalServerError {
			t.Errorf("%s %q: %s", path, body, resp.Body)
		}
	})
}
