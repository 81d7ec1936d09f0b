package guests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

func TestBackoff(t *testing.T) {
	var b backoff
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300} {
		if got := b.next(time.Second); got != want*time.Second {
			t.Errorf("pause %d: %v, want %v", i, got, want*time.Second)
		}
	}
	if got := b.next(soundRun); got != time.Second {
		t.Errorf("after a sound run: %v", got)
	}
	for range 100 {
		if got := b.next(0); got > maxPause || got <= 0 {
			t.Fatalf("pause %v", got)
		}
	}
}

func TestPolicy(t *testing.T) {
	const (
		never   = gozenv1.RestartPolicy_RESTART_POLICY_NEVER
		onCrash = gozenv1.RestartPolicy_RESTART_POLICY_ON_CRASH
		always  = gozenv1.RestartPolicy_RESTART_POLICY_ALWAYS
	)
	for code, crash := range map[string]bool{
		"power-off": false, "killed": false, "host-restart": false,
		"panic": true, "triple-fault": true, "vmm-died": true, "start-failed": true, "internal-error": true,
	} {
		if crashed(code) != crash {
			t.Errorf("%s: crashed %v", code, !crash)
		}
		if restarts(never, code) || restarts(onCrash, code) != crash || !restarts(always, code) {
			t.Errorf("%s: never %v, on crash %v, always %v", code, restarts(never, code), restarts(onCrash, code), restarts(always, code))
		}
	}
}

func TestStartTick(t *testing.T) {
	const rest = " S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 11 12"
	for _, c := range []struct {
		text string
		want uint64
		ok   bool
	}{
		{"42 (vmm)" + rest, 987654, true},
		{"42 (a) S 1 (b) c)" + rest, 987654, true},
		{"42 (vmm) S 1", 0, false},
		{"", 0, false},
	} {
		got, err := parseStartTick([]byte(c.text))
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: %d, %v", c.text, got, err)
		}
	}
	if tick, err := startTick(os.Getpid()); err != nil || tick == 0 {
		t.Errorf("this process: %d, %v", tick, err)
	}
}

// What a vmm leaves is not trusted: it may have been taken over by its guest.
func TestHostileOutcomes(t *testing.T) {
	for _, c := range []struct{ content, code, message string }{
		{`{"code":"power-off","message":"bye"}`, "power-off", "bye"},
		{`{"code":"vmm-died","message":"x"}`, "internal-error", "unknown word"},
		{`{"code":"panic","message":"\u001b[2Jgone\n"}`, "panic", " [2Jgone "},
		{`{"code":"panic","message":"` + strings.Repeat("x", 5000) + `"}`, "panic", strings.Repeat("x", maxMessage)},
		{"panic: runtime error\ngoroutine 1", "internal-error", "the vmm crashed: panic: runtime error"},
	} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, outbox), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, outcomeFile), []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		o := readOutcome(dir)
		if o == nil || o.Code != c.code || !strings.Contains(o.Message, c.message) || len(o.Message) > maxMessage+100 {
			t.Errorf("%.80q: %+v", c.content, o)
		}
	}
	if o := readOutcome(t.TempDir()); o != nil {
		t.Errorf("no file: %+v", o)
	}
}

func FuzzOutcome(f *testing.F) {
	f.Add([]byte(`{"code":"power-off","message":"bye"}`))
	f.Add([]byte(`{"code":"x","stats":{"kvm":{"exits":-1}}}`))
	f.Add([]byte("panic: \xff\x1b["))
	dir := f.TempDir()
	if err := os.Mkdir(filepath.Join(dir, outbox), 0o700); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, outcomeFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		o := readOutcome(dir)
		if o == nil {
			return
		}
		if !crashed(o.Code) && o.Code != "power-off" && o.Code != "reset" && o.Code != "killed" {
			t.Errorf("code %q", o.Code)
		}
		for _, r := range o.Message {
			if r < ' ' || r == 0x7f {
				t.Errorf("message %q", o.Message)
			}
		}
	})
}

func FuzzStartTick(f *testing.F) {
	f.Add([]byte("42 (vmm) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 11"))
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = parseStartTick(b) })
}
