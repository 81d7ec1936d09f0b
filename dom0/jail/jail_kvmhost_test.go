//go:build kvmhost

package jail

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inmate is the argument 0 under which the test binary plays the jailed program.
const inmate = "gozen-inmate"

func TestMain(m *testing.M) {
	Main()
	if os.Args[0] == inmate {
		lookAround()
		return
	}
	os.Exit(m.Run())
}

// lookAround prints what a program sees from inside.
func lookAround() {
	entries, err := os.ReadDir("/")
	fmt.Println("root", len(entries), err)
	fmt.Println("write", os.WriteFile("/x", nil, 0o600) != nil)
	fmt.Println("uid", os.Getuid(), os.Geteuid(), os.Getgid())
	groups, _ := os.Getgroups()
	fmt.Println("groups", len(groups))
	fmt.Println("pid", os.Getpid(), os.Getppid())
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	fmt.Println("caps", unix.Capget(&hdr, &data[0]), data)
	bound, _ := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_ADMIN, 0, 0, 0)
	fmt.Println("bounding", bound)
	nnp, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	fmt.Println("nnp", nnp)
	fmt.Println("chroot", unix.Chroot("/") != nil)
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err == nil {
		err = unix.Connect(s, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{192, 0, 2, 1}})
	}
	fmt.Println("network", err)
	b, err := io.ReadAll(os.NewFile(3, "given"))
	fmt.Println("given", string(b), err)
	var st unix.Stat_t
	for fd := 4; fd < 40; fd++ {
		// The Go runtime of the inmate opens an epoll and an event descriptor.
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			fmt.Println("leaked directory", fd)
		}
	}
	os.Exit(7)
}

func TestInsideIsEmpty(t *testing.T) {
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	dir := t.TempDir()
	given := filepath.Join(dir, "given")
	if err := os.WriteFile(given, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(given)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := Start(Program{Exe: exe, Name: inmate, Files: []*os.File{in}, Output: out, ID: 123456, Root: root})
	if err != nil {
		t.Fatal(err)
	}
	state, err := p.Wait()
	if err != nil || state.ExitCode() != 7 {
		t.Errorf("inmate ended with %v, %v", state, err)
	}
	b, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"root 0 <nil>",
		"write true",
		"uid 123456 123456 123456",
		"groups 0",
		"pid 1 0",
		"caps <nil> [{0 0 0} {0 0 0}]",
		"bounding 0",
		"nnp 1",
		"chroot true",
		"network network is unreachable",
		"given hello <nil>",
		"",
	}, "\n")
	if string(b) != want {
		t.Errorf("from inside:\n%swant:\n%s", b, want)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 0 {
		t.Errorf("the empty root shows outside: %v, %v", entries, err)
	}
}

func TestStageFailureIsReported(t *testing.T) {
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	_, err = Start(Program{Exe: exe, Name: inmate, ID: 123456, Root: "/does/not/exist"})
	if err == nil || !strings.Contains(err.Error(), "mount the empty root") {
		t.Errorf("error %v", err)
	}
}

func TestNoProgramIsReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte("no program"), 0o700); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	_, err = Start(Program{Exe: exe, Name: inmate, ID: 123456, Root: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "execute") {
		t.Errorf("error %v", err)
	}
}
