package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Of linux/input-event-codes.h and struct input_event in linux/input.h, 64-bit.
const (
	evKey     = 1
	keyPower  = 116
	eventSize = 24
)

// watchPowerButton powers the guest off when its ACPI power button is pressed.
func watchPowerButton() error {
	devices, err := filepath.Glob("/sys/class/input/event*")
	if err != nil {
		return err
	}
	for _, device := range devices {
		if !strings.Contains(read(device+"/device/name"), "Power Button") {
			continue
		}
		events, err := os.Open("/dev/input/" + filepath.Base(device))
		if err != nil {
			return fmt.Errorf("power button: %w", err)
		}
		go func() {
			defer events.Close()
			if powerPressed(events) {
				fmt.Println("demo: the power button was pressed, powering off")
				powerOff()
			}
		}()
		return nil
	}
	return errors.New("the guest has no power button")
}

// powerPressed reads input events until the power key goes down; false at the end.
func powerPressed(events io.Reader) bool {
	event := make([]byte, eventSize)
	for {
		if _, err := io.ReadFull(events, event); err != nil {
			return false
		}
		kind := binary.LittleEndian.Uint16(event[16:])
		code := binary.LittleEndian.Uint16(event[18:])
		value := binary.LittleEndian.Uint32(event[20:])
		if kind == evKey && code == keyPower && value == 1 {
			return true
		}
	}
}

func powerOff() {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("demo: power off:", err)
	}
}
