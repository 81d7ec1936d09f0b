package work

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Fio runs fio.
type Fio struct {
	Path    string        // the program
	Runtime time.Duration // of each job, at least a second
}

// fsyncJob and countJob are jobs that are read differently from the others.
const (
	fsyncJob = "fsync"
	countJob = "count"
)

// diskJobs are what is run on a disk, one after another: a name in the catalogue and
// fio's options.
var diskJobs = []struct {
	name    string
	options []string
}{
	{"randread.1", []string{"--rw=randread", "--bs=4k", "--iodepth=1"}},
	{"randread.4", []string{"--rw=randread", "--bs=4k", "--iodepth=4"}},
	{"randread.32", []string{"--rw=randread", "--bs=4k", "--iodepth=32"}},
	{"randwrite.1", []string{"--rw=randwrite", "--bs=4k", "--iodepth=1"}},
	{"randwrite.4", []string{"--rw=randwrite", "--bs=4k", "--iodepth=4"}},
	{"randwrite.32", []string{"--rw=randwrite", "--bs=4k", "--iodepth=32"}},
	{"read", []string{"--rw=read", "--bs=128k", "--iodepth=8"}},
	{"write", []string{"--rw=write", "--bs=128k", "--iodepth=8"}},
	{fsyncJob, []string{"--rw=write", "--bs=4k", "--ioengine=psync", "--fsync=1"}},
}

// globalOptions hold for all jobs: asynchronous and past the page cache. Threads
// need no memory shared between processes for their buffers, no map saves memory in
// small guests, and statistics of /sys would only cost time.
var globalOptions = []string{
	"--ioengine=libaio", "--direct=1", "--thread", "--norandommap", "--disk_util=0",
	"--eta=never", "--output-format=json",
}

// Disk measures a block device or file, whose content is lost: the measures
// disk.PREFIX.*, prefix being "file" or "raw". All jobs are of one run of fio, which
// under emulation takes seconds to start.
//
//	randread.N, randwrite.N  4 KiB at random places, N at a time: operations a second
//	read, write              128 KiB in sequence, 8 at a time: MiB/s
//	fsync                    4 KiB written and made durable, one after another: the
//	                         mean of both together in µs
func (f Fio) Disk(prefix, file string) ([]Value, error) {
	args := append([]string{"--filename=" + file, "--time_based", "--runtime=" + strconv.Itoa(seconds(f.Runtime))}, globalOptions...)
	for _, j := range diskJobs {
		args = append(args, append([]string{"--name=" + j.name, "--stonewall"}, j.options...)...)
	}
	r, runErr := f.run(file, args)
	if r == nil {
		return nil, runErr
	}
	values, err := r.values("disk." + prefix + ".")
	return values, errors.Join(runErr, err)
}

// Count reads 4 KiB at n random places, 32 at a time, and returns how many reads
// were made: a known number of requests to divide exits and system calls by.
func (f Fio) Count(file string, n int) (int, error) {
	if n <= 0 {
		return 0, fmt.Errorf("fio: %d requests", n)
	}
	args := append([]string{"--filename=" + file}, globalOptions...)
	args = append(args, "--name="+countJob, "--rw=randread", "--bs=4k", "--iodepth=32",
		// Of more reads than the file has blocks, number_ios alone would stop early.
		"--io_size="+strconv.Itoa(n*4096), "--number_ios="+strconv.Itoa(n))
	r, err := f.run(file, args)
	if r == nil {
		return 0, err
	}
	for _, j := range r.Jobs {
		if j.Name == countJob && j.Error == 0 {
			return j.Read.Total, err
		}
	}
	return 0, errors.Join(err, fmt.Errorf("fio on %s: the reads failed", file))
}

func seconds(d time.Duration) int { return max(1, int((d+time.Second-1)/time.Second)) }

// run starts fio and reads its report. It may return a report and an error: of jobs
// that failed.
func (f Fio) run(file string, args []string) (*fioReport, error) {
	if _, err := os.Stat(f.Path); err != nil {
		return nil, fmt.Errorf("fio is missing: %w; install Debian's package fio", err)
	}
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("fio: %w; has the guest that disk?", err)
	}
	var out, errOut bytes.Buffer
	cmd := exec.Command(f.Path, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("fio on %s: %w: %s", file, err, firstLines(errOut.String()+beforeReport(out.String())))
	}
	r, parseErr := parseFio(out.Bytes())
	if parseErr != nil {
		return nil, errors.Join(err, parseErr)
	}
	return r, err
}

// beforeReport is what fio says before its report, or instead of one.
func beforeReport(out string) string {
	text, _, _ := strings.Cut(out, "{\n")
	return text
}

// firstLines shortens a program's complaints to what fits a line.
func firstLines(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return s
}

// fioReport is the part of fio's JSON output that is used.
type fioReport struct {
	Jobs []struct {
		Name  string    `json:"jobname"`
		Error int       `json:"error"`
		Read  direction `json:"read"`
		Write direction `json:"write"`
		Sync  struct {
			Latency latency `json:"lat_ns"`
		} `json:"sync"`
	} `json:"jobs"`
}

type direction struct {
	Total     int     `json:"total_ios"`
	IOPS      float64 `json:"iops"`
	Bandwidth float64 `json:"bw_bytes"` // bytes a second
	Latency   latency `json:"lat_ns"`
}

type latency struct {
	Mean float64 `json:"mean"` // nanoseconds
}

func parseFio(out []byte) (*fioReport, error) {
	at := bytes.Index(out, []byte("{\n"))
	if at < 0 {
		return nil, fmt.Errorf("fio: no report in its output: %s", firstLines(string(out)))
	}
	var r fioReport
	// A decoder: what follows the report does not matter.
	if err := json.NewDecoder(bytes.NewReader(out[at:])).Decode(&r); err != nil {
		return nil, fmt.Errorf("fio: report: %w", err)
	}
	return &r, nil
}

// values reads the report of diskJobs.
func (r *fioReport) values(prefix string) ([]Value, error) {
	var values []Value
	var errs []error
	for _, j := range r.Jobs {
		done := j.Read
		if strings.Contains(j.Name, "write") || j.Name == fsyncJob {
			done = j.Write
		}
		if j.Error != 0 || done.Total == 0 {
			errs = append(errs, fmt.Errorf("fio: job %s: error %d after %d requests", j.Name, j.Error, done.Total))
			continue
		}
		v := Value{Measure: prefix + j.Name}
		switch j.Name {
		case "read", "write":
			v.Value = done.Bandwidth / (1 << 20)
		case fsyncJob:
			v.Value = (done.Latency.Mean + j.Sync.Latency.Mean) / 1e3
		default:
			v.Value = done.IOPS
		}
		values = append(values, v)
	}
	if len(r.Jobs) < len(diskJobs) {
		errs = append(errs, fmt.Errorf("fio: %d of %d jobs in the report", len(r.Jobs), len(diskJobs)))
	}
	return values, errors.Join(errs...)
}
