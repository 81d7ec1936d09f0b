package hostinfo

import "testing"

func TestCPUInfo(t *testing.T) {
	for _, c := range []struct{ text, model, virt string }{
		{"processor\t: 0\nmodel name\t: Some CPU @ 2GHz\nflags\t\t: fpu svm lm\n\nprocessor\t: 1\nmodel name\t: Other\n", "Some CPU @ 2GHz", "svm"},
		{"model name\t: X\nflags\t: vmx\n", "X", "vmx"},
		{"flags\t: fpu svm_lock\n", "", ""},
		{"", "", ""},
	} {
		if model, virt := parseCPUInfo([]byte(c.text)); model != c.model || virt != c.virt {
			t.Errorf("%q: %q, %q", c.text, model, virt)
		}
	}
}

func TestThisMachine(t *testing.T) {
	h, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	if h.CPUs < 1 || h.MemoryBytes < 1<<20 || h.KernelRelease == "" || h.BootID == "" || h.BootTime.IsZero() {
		t.Errorf("%+v", h)
	}
	fs, err := StatFS("/proc")
	if err != nil || fs.Type != "0x9fa0" || fs.InMemory() {
		t.Errorf("%+v, %v", fs, err)
	}
	if _, err := StatFS("/does/not/exist"); err == nil {
		t.Error("no error for a path that is not there")
	}
	if _, err := Interfaces(); err != nil {
		t.Error(err)
	}
}

func FuzzCPUInfo(f *testing.F) {
	f.Add([]byte("model name\t: X\nflags\t: vmx\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) { parseCPUInfo(b) })
}
