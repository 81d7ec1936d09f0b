//go:build tools

package initramfs

// The commands of host.go are built by name, which the go command does not see.
// These imports keep the module that has them, and what they need, in go.mod.
import (
	_ "github.com/u-root/u-root/cmds/core/gosh"
	_ "github.com/u-root/u-root/cmds/core/ip"
	_ "github.com/u-root/u-root/cmds/core/strace"
)
