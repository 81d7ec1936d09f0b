// Command gozen-init is /init of a Gozen host: PID 1, and under the name
// "modprobe" the kernel's helper for loading modules.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"gozen/dom0/modules"
	"gozen/dom0/supervisor"
)

func main() {
	if filepath.Base(os.Args[0]) == "modprobe" {
		os.Exit(modules.Helper(os.Args[1:]))
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "gozen-init is the first program of a Gozen host and runs nowhere else")
		os.Exit(2)
	}
	supervisor.Main()
}
