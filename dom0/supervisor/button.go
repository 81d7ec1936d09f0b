package supervisor

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gozen/dom0/modules"
)

// Event codes of the kernel's input layer, uapi/linux/input-event-codes.h.
const (
	evKey    = 0x01
	keyPower = 116
)

// inputEventSize is sizeof(struct input_event) on 64-bit machines: two 64-bit
// words of time, then type and code of 16 bits and a value of 32
// (uapi/linux/input.h).
const inputEventSize = 24

// powerPresses calls pressed for every press of a power button in a stream of
// input events, until the stream ends.
func powerPresses(r io.Reader, pressed func()) {
	var ev [inputEventSize]byte
	for {
		if _, err := io.ReadFull(r, ev[:]); err != nil {
			return
		}
		typ := binary.NativeEndian.Uint16(ev[16:])
		code := binary.NativeEndian.Uint16(ev[18:])
		value := int32(binary.NativeEndian.Uint32(ev[20:]))
		if typ == evKey && code == keyPower && value == 1 {
			pressed()
		}
	}
}

// watchButton reads an input device when a uevent announces a power button.
func watchButton(ev modules.Uevent, pressed func()) {
	if ev.Action != "add" || ev.Env["SUBSYSTEM"] != "input" || !strings.HasPrefix(ev.Env["DEVNAME"], "input/event") {
		return
	}
	name, err := os.ReadFile(filepath.Join("/sys", ev.Path, "device/name"))
	if err != nil || strings.TrimSpace(string(name)) != "Power Button" {
		return
	}
	go guard(func() {
		f, err := os.Open(filepath.Join("/dev", ev.Env["DEVNAME"]))
		if err != nil {
			return
		}
		defer f.Close()
		powerPresses(f, pressed)
	})
}
