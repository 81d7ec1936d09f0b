package efi

import (
	"fmt"
	"os"
)

// StubFile is where Debian's systemd-boot-efi package puts the stub.
const StubFile = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"

// Parts are what a unified file of Gozen is made of.
type Parts struct {
	Kernel    []byte // bzImage
	Initramfs []byte
	Cmdline   string
	Version   string // of Gozen
	Release   string // of the kernel
}

// Unify joins the parts with the stub in a file.
func Unify(stubFile string, p Parts) ([]byte, error) {
	stub, err := os.ReadFile(stubFile)
	if err != nil {
		return nil, fmt.Errorf("EFI stub: %w: install systemd-boot-efi (make deps)", err)
	}
	// What boot menus show, in the format of os-release(5).
	osrel := fmt.Sprintf("NAME=Gozen\nID=gozen\nVERSION_ID=%s\nPRETTY_NAME=\"Gozen %s\"\n", p.Version, p.Version)
	return Join(stub, []Section{
		{".osrel", []byte(osrel)},
		{".uname", []byte(p.Release)},
		{".cmdline", []byte(p.Cmdline)},
		{".initrd", p.Initramfs},
		// Last: the kernel may use the memory behind it while it unpacks itself.
		{".linux", p.Kernel},
	})
}
