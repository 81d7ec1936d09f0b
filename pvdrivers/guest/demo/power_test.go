package main

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func event(kind, code uint16, value uint32) []byte {
	e := make([]byte, eventSize)
	binary.LittleEndian.PutUint16(e[16:], kind)
	binary.LittleEndian.PutUint16(e[18:], code)
	binary.LittleEndian.PutUint32(e[20:], value)
	return e
}

func TestPowerPressed(t *testing.T) {
	const evSyn, keyEnter = 0, 28
	for _, c := range []struct {
		name   string
		events [][]byte
		want   bool
	}{
		{"pressed", [][]byte{event(evKey, keyPower, 1)}, true},
		{"another key first", [][]byte{event(evKey, keyEnter, 1), event(evSyn, 0, 0), event(evKey, keyPower, 1)}, true},
		{"only released", [][]byte{event(evKey, keyPower, 0)}, false},
		{"half an event", [][]byte{event(evKey, keyPower, 1)[:10]}, false},
		{"nothing", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := powerPressed(bytes.NewReader(bytes.Join(c.events, nil))); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
