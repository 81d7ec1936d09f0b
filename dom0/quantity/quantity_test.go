package quantity

import "testing"

func TestBytes(t *testing.T) {
	for n, want := range map[uint64]string{
		0:                      "0B",
		512:                    "512B",
		1023:                   "1023B",
		1024:                   "1KiB",
		1536:                   "1.5KiB",
		48 << 20:               "48MiB",
		64 << 30:               "64GiB",
		11<<30 + 256<<20:       "11.2GiB",
		1<<30 - 1:              "1023.9MiB",
		16 << 40:               "16TiB",
		1<<64 - 1:              "15.9EiB",
		12<<30 + 825<<20:       "12.8GiB",
		1<<30 + (1<<30)/10 + 1: "1.1GiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
