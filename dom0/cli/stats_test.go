package cli_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// The exits of a guest are there by their reasons, for people and for programs.
func TestGuestStats(t *testing.T) {
	env := startGuest(t)
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("gozen", append([]string{"guest", "stats", "web"}, args...)...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	table := run()
	for _, want := range []string{
		`(?m)^Guest +web$`,
		`(?m)^FROM +COUNTER +VALUE$`,
		`(?m)^vmm exits +io +7$`,
		`(?m)^kvm +exits +42$`,
		`(?m)^virtio-rng0 +bytes +16$`,
	} {
		if !regexp.MustCompile(want).MatchString(table) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
	const widest = 100 // columns
	for line := range strings.Lines(table) {
		if len(strings.TrimSuffix(line, "\n")) > widest {
			t.Errorf("wider than %d columns: %q", widest, line)
		}
	}
	var stats gozenv1.GuestStatsResponse
	if err := protojson.Unmarshal([]byte(run("-o", "json")), &stats); err != nil {
		t.Fatal(err)
	}
	if stats.VmmExits["io"] != 7 || stats.Kvm["exits"] != 42 || len(stats.Devices) != 1 || stats.Devices[0].Counters["bytes"] != 16 {
		t.Errorf("stats %v", &stats)
	}
}
