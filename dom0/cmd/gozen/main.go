// Command gozen manages Gozen hosts and their guests from the admin host. See
// package cli.
package main

import (
	"os"

	"gozen/dom0/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
