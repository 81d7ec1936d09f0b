package api

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// jsonNames are the content types' names of JSON, in the forms that connect-go
// tells apart: clients send both.
var jsonNames = []string{"json", "json; charset=utf-8"}

// strictJSON reads and writes messages as protobuf's JSON. Unlike connect-go's
// own codec it refuses fields that a message does not have: a limit that is
// misspelt must not become no limit.
type strictJSON struct{ name string }

// Name implements connect.Codec.
func (c strictJSON) Name() string { return c.name }

// Marshal implements connect.Codec.
func (strictJSON) Marshal(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a protobuf message", message)
	}
	return protojson.Marshal(m)
}

// Unmarshal implements connect.Codec. Its errors are shown to the client, with
// the code invalid_argument.
func (strictJSON) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is not a protobuf message", message)
	}
	name := m.ProtoReflect().Descriptor().Name()
	if len(data) == 0 {
		return fmt.Errorf("%s: the body is empty; send a JSON object, {} at least", name)
	}
	err := protojson.Unmarshal(data, m)
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: not the JSON of this message: %w", name, plain(err))
}

// plain takes the library's name off the front of an error. What follows the
// name is a space of one kind or another.
func plain(err error) error {
	text, found := strings.CutPrefix(err.Error(), "proto:")
	if !found {
		return err
	}
	return errors.New(strings.TrimLeft(text, " \u00a0"))
}
