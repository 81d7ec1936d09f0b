package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"gozen/qemu-tests/bench/measure"
)

var update = flag.Bool("update", false, "write the golden files in testdata anew")

// catalogue is what most tests measure: the golden files must not change with every
// measure that is added.
var catalogue = []measure.Measure{
	{Name: "start.exits", Group: measure.GroupStart, Title: "VM exits until userspace, small kernel", Unit: "exits", Limit: 1000, Target: "≤ 1,000"},
	{Name: "start.user_exits", Group: measure.GroupStart, Title: "of them to the VMM process", Unit: "exits"},
	{Name: "start.cpu", Group: measure.GroupStart, Title: "host CPU time until userspace, small kernel", Unit: "ms"},
	{Name: "start.wall", Group: measure.GroupStart, Title: "time until userspace, small kernel", Unit: "ms", Ratio: 0.7, Target: "≤ 0.7 of the best peer"},
	{Name: "debian.wall", Group: measure.GroupStart, Title: "time until login, Debian from disk", Unit: "ms"},
	{Name: "memory.idle", Group: measure.GroupMemory, Title: "private memory beyond guest RAM, idle", Unit: "KiB", Limit: 5 * 1024, Target: "≤ 5 MiB"},
	{Name: "density.fit", Group: measure.GroupDensity, Title: "guests that fit in 1 GiB beyond their RAM", Unit: "guests", Better: measure.HigherIsBetter},
	{Name: "cpu.compute", Group: measure.GroupCPU, Title: "compute loop", Unit: "× host", PerHost: true, Limit: 1.02, Ratio: 1, Target: "≤ 1.02 on hardware; below the best peer emulated"},
	{Name: "cpu.memory", Group: measure.GroupCPU, Title: "walk over 32 MiB", Unit: "× host", PerHost: true, Ratio: 1, Target: "below the best peer"},
	{Name: "cpu.fault", Group: measure.GroupCPU, Title: "page fault", Unit: "× host", PerHost: true, Ratio: 1, Target: "below the best peer"},
	{Name: "exit.doorbell", Group: measure.GroupExits, Title: "doorbell of a queue", Unit: "ns"},
	{Name: "exit.idle", Group: measure.GroupExits, Title: "exits of an idle guest, a second and vCPU", Unit: "exits/s", Limit: 5, Target: "< 5"},
	{Name: "disk.file.randread.1", Group: measure.GroupDisk, Title: "file, 4 KiB random read, depth 1", Unit: "IOPS", Better: measure.HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.file.randread.32", Group: measure.GroupDisk, Title: "file, 4 KiB random read, depth 32", Unit: "IOPS", Better: measure.HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.file.fsync", Group: measure.GroupDisk, Title: "file, 4 KiB write and fsync", Unit: "µs", Ratio: 1, Against: "qemu", Target: "≤ 1.0 of QEMU"},
	{Name: "disk.raw.read", Group: measure.GroupDisk, Title: "device, 128 KiB sequential read", Unit: "MiB/s", Better: measure.HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.raw.write", Group: measure.GroupDisk, Title: "device, 128 KiB sequential write", Unit: "MiB/s", Better: measure.HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "net.host.send", Group: measure.GroupNetwork, Title: "guest to dom0, TCP", Unit: "MiB/s", Better: measure.HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "net.host.exits", Group: measure.GroupNetwork, Title: "exits a datagram", Unit: "exits"},
	{Name: "entropy.rate", Group: measure.GroupEntropy, Title: "bytes from the entropy device", Unit: "KiB/s", Better: measure.HigherIsBetter},
}

// take adds repetitions of a measure.
func take(run *measure.Run, name, subject string, values ...float64) {
	for _, v := range values {
		run.Samples = append(run.Samples, measure.Sample{Measure: name, Subject: subject, Value: v})
	}
}

// reasons adds one repetition of parts of a measure.
func reasons(run *measure.Run, name, subject string, parts map[string]float64) {
	for d, v := range parts {
		run.Samples = append(run.Samples, measure.Sample{Measure: name, Subject: subject, Value: v, Detail: d})
	}
}

// full is a run as an emulated host gives it: most was measured, some could not.
func full() *measure.Run {
	run := &measure.Run{
		Date: time.Date(2026, 11, 22, 18, 30, 0, 0, time.UTC),
		Host: map[string]string{
			"emulated": "yes", "CPU": "QEMU TCG CPU version 2.5+, 2 processors", "kernel": "Linux 6.12.117+deb12-amd64",
			"QEMU": "10.0.2 (Debian 1:10.0.2+ds-2)", "memory": "6 GiB",
		},
		Subjects: map[string]string{
			"gozen":        "this tree; vmm as dom0 starts it: vhost-net, huge pages, one queue a vCPU",
			"qemu-microvm": "QEMU 10.0.2, -M microvm,x-option-roms=off,rtc=off,pit=off,pic=off,isa-serial=off -nodefaults, virtio-mmio, vhost-net, iothread, aio=io_uring",
			"qemu-q35":     "QEMU 10.0.2, -M q35 -nodefaults, virtio-pci modern, vhost-net, iothread, aio=io_uring",
			"gokvm":        "v0.0.9 from the module proxy, bzImage and initrd",
			"kvmtool":      "",
			"host":         "the same programs in dom0",
		},
		Failures: []measure.Failure{
			{Subject: "kvmtool", Why: "PEER_KVMTOOL names no binary"},
			{Subject: "gokvm", Part: measure.GroupDisk, Why: "guest did not find its disk within 60 s"},
			{Subject: "gokvm", Part: measure.GroupDisk, Why: "guest did not find its disk within 60 s"},
			{Subject: "qemu-microvm", Part: "debian", Why: "firmware: no bootable device | <b>\x1b[31mred\x1b[0m"},
		},
	}
	take(run, "start.exits", "gozen", 843, 842, 851)
	take(run, "start.exits", "qemu-microvm", 3412, 3398, 3420)
	take(run, "start.exits", "qemu-q35", 61204, 60881, 61330)
	take(run, "start.exits", "gokvm", 214033, 214410, 213987)
	take(run, "start.user_exits", "gozen", 61, 61, 61)
	take(run, "start.user_exits", "qemu-microvm", 702, 702, 704)
	take(run, "start.wall", "gozen", 1810, 1795, 1904, 1850, 1799)
	take(run, "start.wall", "qemu-microvm", 2501, 2470, 2655, 2500, 2512)
	take(run, "start.wall", "qemu-q35", 6120, 6333, 6080, 6100, 6208)
	take(run, "start.wall", "gokvm", 9930, 9871, 10240, 9900, 10020)
	take(run, "start.cpu", "gozen", 1490)
	take(run, "start.cpu", "qemu-microvm", 2110)
	reasons(run, "start.exits", "gozen", map[string]float64{"external interrupt": 410, "EPT misconfiguration": 44, "CPUID": 120, "MSR write": 201, "never": 0})
	reasons(run, "start.exits", "qemu-microvm", map[string]float64{"external interrupt": 1204, "EPT misconfiguration": 690, "CPUID": 122, "I/O instruction": 12})
	take(run, "memory.idle", "gozen", 5300, 5288, 5304)
	take(run, "memory.idle", "qemu-microvm", 18432, 18500, 18420)
	take(run, "density.fit", "gozen", 190)
	take(run, "density.fit", "qemu-microvm", 54)
	for _, s := range []struct {
		subject string
		factor  float64
	}{{"host", 1}, {"gozen", 1.08}, {"qemu-microvm", 1.1}, {"qemu-q35", 1.12}} {
		take(run, "cpu.compute", s.subject, 812.5*s.factor, 809*s.factor, 840.2*s.factor)
		take(run, "cpu.fault", s.subject, 2.1*s.factor*s.factor*s.factor, 2.2*s.factor, 2.4*s.factor*s.factor)
	}
	take(run, "cpu.memory", "gozen", 2.4, 2.5, 2.6) // the host has none
	take(run, "cpu.memory", "qemu-q35", 2.5, 2.5, 2.5)
	take(run, "exit.idle", "gozen", 0, 0, 0)
	take(run, "exit.idle", "qemu-microvm", 0, 3, 12)
	take(run, "exit.doorbell", "gozen", 0.0000001, 0.00012, 7)
	take(run, "disk.file.randread.1", "gozen", 5120, 5201, 5090)
	take(run, "disk.file.randread.1", "qemu-q35", 5010, 5150, 4999)
	take(run, "disk.file.randread.1", "host", 9100, 9000, 9300)
	take(run, "disk.file.randread.32", "gozen", 61e12, 60e12, 62e12)
	take(run, "disk.file.randread.32", "qemu-q35", 7.5e13, 7.4e13, 7.6e13)
	take(run, "disk.file.fsync", "gozen", 204)
	take(run, "disk.raw.read", "gozen", 3100, 3000, 3050) // no peer
	take(run, "net.host.send", "qemu-q35", 410, 402, 433) // not gozen
	take(run, "net.host.exits", "gozen", 0.021, 0.0209, 0.0222)
	take(run, "net.host.exits", "qemu-q35", 0, 0, 0)
	take(run, "entropy.rate", "gozen", math.NaN(), math.Inf(1), 210000)
	take(run, "removed.measure", "gozen", 1)
	return run
}

// many has more peers than a line has room for.
func many() *measure.Run {
	run := &measure.Run{Host: map[string]string{"emulated": "no", "CPU": "made up"}, Subjects: map[string]string{}}
	for i, s := range []string{"gozen", "cloud-hypervisor", "crosvm", "firecracker", "gokvm", "kvmtool", "qemu-microvm", "qemu-q35"} {
		run.Subjects[s] = "v" + strings.Repeat("1.2-", 40*(i%2)) + "0"
		take(run, "start.exits", s, 900*float64(i+1), 901*float64(i+1))
		take(run, "start.wall", s, 80*float64(i+1), 92*float64(i+1))
		take(run, "cpu.compute", s, 1.019)
		reasons(run, "start.exits", s, map[string]float64{"HLT": float64(i), strings.Repeat("long", 12): 1})
	}
	take(run, "cpu.compute", "host", 1)
	return run
}

// hostile is what a guest could say at worst.
func hostile() *measure.Run {
	evil := "\x1b]0;x\a</title><script>alert(1)</script>|`" + End + "\n# [x](//y)\u202e\xff"
	run := &measure.Run{Host: map[string]string{evil: evil}, Subjects: map[string]string{evil: evil, "": ""},
		Failures: []measure.Failure{{}, {Subject: evil, Part: evil, Why: strings.Repeat(evil, 100)}, {Subject: evil, Part: measure.GroupCPU, Why: evil}}}
	take(run, "start.exits", evil, math.MaxFloat64, math.MaxFloat64, -math.MaxFloat64)
	take(run, "start.exits", "gozen", -1, math.SmallestNonzeroFloat64, math.MaxFloat64)
	take(run, "cpu.compute", evil, math.MaxFloat64)
	take(run, "cpu.compute", "host", math.SmallestNonzeroFloat64)
	take(run, "cpu.fault", "gozen", 1)
	take(run, "cpu.fault", "host", -1)
	run.Samples = append(run.Samples, measure.Sample{Measure: "start.exits", Subject: evil, Value: 1, Detail: evil})
	return run
}

var runs = []struct {
	name string
	run  func() *measure.Run
}{
	{"full", full}, {"many", many}, {"hostile", hostile}, {"empty", func() *measure.Run { return &measure.Run{} }},
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update writes it anew). Now:\n%s", path, got)
	}
}

func render(t *testing.T, f func(io.Writer, *measure.Run) error, run *measure.Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := f(&b, run); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTextAndMarkdown(t *testing.T) {
	for _, r := range runs {
		t.Run(r.name, func(t *testing.T) {
			m := build(catalogue, r.run())
			golden(t, r.name+".txt", m.text())
			golden(t, r.name+".md", m.markdown())
		})
	}
}

// What a terminal and a reader rely on, whatever the run says.
func TestTextIsPlain(t *testing.T) {
	for _, r := range runs {
		t.Run(r.name, func(t *testing.T) {
			for i, line := range strings.Split(render(t, Text, r.run()), "\n") {
				if n := utf8.RuneCountInString(line); n > width {
					t.Errorf("line %d has %d columns: %q", i+1, n, line)
				}
				if strings.TrimRight(line, " ") != line {
					t.Errorf("line %d ends in spaces: %q", i+1, line)
				}
				if bad := regexp.MustCompile(`[[:cntrl:]]|NaN|Inf`).FindString(line); bad != "" {
					t.Errorf("line %d has %q: %q", i+1, bad, line)
				}
			}
		})
	}
}

// A table of Markdown needs the same number of cells in each row.
func TestMarkdownTables(t *testing.T) {
	cells := regexp.MustCompile(`(^|[^\\])\|`)
	for _, r := range runs {
		t.Run(r.name, func(t *testing.T) {
			want := 0
			for i, line := range strings.Split(render(t, Markdown, r.run()), "\n") {
				if !strings.HasPrefix(line, "|") {
					want = 0
					continue
				}
				n := len(cells.FindAllString(line, -1))
				if want == 0 {
					want = n
				}
				if n != want {
					t.Errorf("line %d has %d bars, its table %d: %q", i+1, n, want, line)
				}
			}
		})
	}
}

func TestHTML(t *testing.T) {
	for _, r := range runs {
		t.Run(r.name, func(t *testing.T) {
			page := render(t, HTML, r.run())
			balanced(t, page)
			for _, bad := range []string{"://", "url(", "src=", "@import", "<script", "<link", "NaN", "Inf", "ZgotmplZ"} {
				if strings.Contains(page, bad) {
					t.Errorf("the page has %q", bad)
				}
			}
			if r.name == "hostile" {
				return // its names are escaped
			}
			for name := range r.run().Subjects {
				if !strings.Contains(page, ">"+name+"<") {
					t.Errorf("the page does not name %s", name)
				}
			}
		})
	}
}

// balanced checks that every element is closed in the right order, and that
// references by id lead somewhere.
func balanced(t *testing.T, page string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict = true
	d.AutoClose = []string{"meta"}
	d.Entity = xml.HTMLEntity
	ids, refs := map[string]bool{}, []string{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		for _, a := range start.Attr {
			switch a.Name.Local {
			case "id":
				if ids[a.Value] {
					t.Errorf("the id %q is there twice", a.Value)
				}
				ids[a.Value] = true
			case "aria-labelledby":
				refs = append(refs, strings.Fields(a.Value)...)
			case "href":
				refs = append(refs, strings.TrimPrefix(a.Value, "#"))
			}
		}
	}
	for _, ref := range refs {
		if !ids[ref] {
			t.Errorf("nothing has the id %q", ref)
		}
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "build", "bench")
	for range 2 { // over its own files too
		if err := Write(dir, full()); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"report.html", "report.md", "report.txt", "results.json"}; !slices.Equal(names, want) {
		t.Errorf("files are %q, want %q", names, want)
	}
	b, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back measure.Run
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if got, want := len(back.Samples), len(full().Samples)-2; got != want { // without NaN and infinity
		t.Errorf("results.json has %d samples, want %d", got, want)
	}
}

func TestUpdate(t *testing.T) {
	for _, c := range []struct{ name, page, err string }{
		{"replaced", "# Page\n\n" + Begin + "\nold\n" + End + "\nend\n", ""},
		{"no begin", End, "0 times"},
		{"no end", Begin, "0 times"},
		{"two", Begin + End + Begin, "2 times"},
		{"order", End + Begin, "stands before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "page.md")
			if err := os.WriteFile(path, []byte(c.page), 0o600); err != nil {
				t.Fatal(err)
			}
			var once string
			for range 2 { // the second time changes nothing
				err := Update(path, hostile())
				b, readErr := os.ReadFile(path)
				if readErr != nil {
					t.Fatal(readErr)
				}
				if c.err != "" {
					if err == nil || !strings.Contains(err.Error(), c.err) {
						t.Fatalf("got %v, want an error with %q", err, c.err)
					}
					if string(b) != c.page {
						t.Errorf("the page has changed to %q", b)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				page := string(b)
				if !strings.HasPrefix(page, "# Page\n\n"+Begin+"\n") || !strings.HasSuffix(page, "\n"+End+"\nend\n") || strings.Contains(page, "\nold\n") {
					t.Errorf("the page is now %q", page)
				}
				if once != "" && page != once {
					t.Errorf("the page changes when it is written again")
				}
				once = page
			}
		})
	}
}
