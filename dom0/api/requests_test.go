package api

import (
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
	"gozen/hypercalls/gen/gozen/v1/gozenv1connect"
)

// Every refusal says in JSON what is wrong with the request.
func TestRefusedRequests(t *testing.T) {
	const (
		plainJSON = "application/json"
		create    = gozenv1connect.VolumeServiceCreateProcedure
		info      = gozenv1connect.HostServiceGetInfoProcedure
		log       = gozenv1connect.HostServiceGetLogProcedure
	)
	b := newBench(t)
	for _, c := range []struct {
		name, method, path, contentType, body string

		status int
		code   connect.Code
		want   string
	}{
		{"misspelt field", "POST", create, plainJSON, `{"name":"d","sizeByts":"512"}`, 400, connect.CodeInvalidArgument, `unknown field \"sizeByts\"`},
		{"misspelt with charset", "POST", create, plainJSON + "; charset=utf-8", `{"nam":"d"}`, 400, connect.CodeInvalidArgument, `unknown field \"nam\"`},
		{"misspelt in depth", "POST", gozenv1connect.GuestServiceCreateProcedure, plainJSON, `{"spec":{"name":"g","nics":[{"net":"x"}]}}`, 400, connect.CodeInvalidArgument, `unknown field \"net\"`},
		{"field that is there twice", "POST", create, plainJSON, `{"name":"d","name":"e"}`, 400, connect.CodeInvalidArgument, "duplicate field"},
		{"no JSON", "POST", create, plainJSON, `name=d`, 400, connect.CodeInvalidArgument, "CreateVolumeRequest: not the JSON of this message: syntax error"},
		{"cut", "POST", create, plainJSON, `{"name":`, 400, connect.CodeInvalidArgument, "unexpected EOF"},
		{"empty", "POST", info, plainJSON, ``, 400, connect.CodeInvalidArgument, "send a JSON object"},
		{"too large", "POST", create, plainJSON, `{"name":"` + strings.Repeat("x", maxMessage) + `"}`, 429, connect.CodeResourceExhausted, "the Upload methods"},
		{"form", "POST", create, "application/x-www-form-urlencoded", `{}`, 415, connect.CodeUnimplemented, "application/json"},
		{"a stream without envelopes", "POST", log, plainJSON, `{}`, 415, connect.CodeUnimplemented, "application/connect+json"},
		{"PUT", "PUT", create, plainJSON, `{}`, 405, connect.CodeUnimplemented, "use POST"},
		{"GET with a body", "GET", info, plainJSON, `{}`, 415, connect.CodeUnimplemented, "use POST"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.t = t
			status, text := b.send(c.method, c.path, c.contentType, c.body)
			if status != c.status || !strings.Contains(text, c.code.String()) || !strings.Contains(text, c.want) {
				t.Errorf("%d %s; want %d, %s and %q", status, text, c.status, c.code, c.want)
			}
		})
	}
	b.t = t
	if status, text := b.send(http.MethodPost, info, plainJSON+"; charset=utf-8", `{}`); status != 200 {
		t.Errorf("with a charset: %d %s", status, text)
	}
}

// A stream's JSON is read by the same codec, and its answers still flow.
func TestStreamInJSON(t *testing.T) {
	b := newBench(t)
	client := gozenv1connect.NewHostServiceClient(b.client, b.url, connect.WithProtoJSON())
	stream, err := client.GetLog(t.Context(), connect.NewRequest(&gozenv1.GetHostLogRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for stream.Receive() {
	}
	if err := stream.Err(); err != nil {
		t.Error(err)
	}
	body := "\x00\x00\x00\x00\x0c" + `{"follow":tr`
	if _, text := b.send(http.MethodPost, gozenv1connect.HostServiceGetLogProcedure, "application/connect+json", body); !strings.Contains(text, "invalid_argument") {
		t.Errorf("a stream's broken JSON: %q", text)
	}
	body = "\x00\x00\x00\x00\x0e" + `{"folow":true}`
	if _, text := b.send(http.MethodPost, gozenv1connect.HostServiceGetLogProcedure, "application/connect+json", body); !strings.Contains(text, `unknown field \"folow\"`) {
		t.Errorf("a stream's misspelt field: %q", text)
	}
}
