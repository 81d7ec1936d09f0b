package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// watchPowerButton powers the guest off when the ACPI power button is pressed.
func watchPowerButton() {
	const (
		evKey    = 1   // EV_KEY, linux/input-event-codes.h
		keyPower = 116 // KEY_POWER
	)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		events, _ := filepath.Glob("/sys/class/input/event*")
		for _, e := range events {
			name, _ := os.ReadFile(e + "/device/name")
			if !strings.Contains(string(name), "Power Button") {
				continue
			}
			f, err := os.Open("/dev/input/" + filepath.Base(e))
			if err != nil {
				continue
			}
			fmt.Println("testguest: power button is watched")
			ev := make([]byte, 24) // struct input_event on 64 bits
			for {
				if _, err := f.Read(ev); err != nil {
					break
				}
				if binary.LittleEndian.Uint16(ev[16:]) == evKey && binary.LittleEndian.Uint16(ev[18:]) == keyPower {
					fmt.Println("testguest: power button pressed")
					_ = reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
				}
			}
		}
		if time.Now().After(deadline) {
			fmt.Println("testguest: no power button")
			return
		}
	}
}
