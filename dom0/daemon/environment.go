package daemon

import (
	"cmp"
	"context"
	"os"
	"time"

	"gozen/dom0/datadisk"
	"gozen/dom0/hostinfo"
	"gozen/dom0/hostnet"
	"gozen/dom0/seed"
)

// seedWait is how long disks may take to appear on which a seed is looked for.
const seedWait = 20 * time.Second

// loadSeed reads what the host was told before its first boot. A broken seed is
// taken as an empty one: the host then lets nobody in, and says why on its
// console.
func (d *daemon) loadSeed(ctx context.Context) {
	s, where, err := d.findSeed(ctx)
	if err != nil {
		d.host.problem("seed", err)
		s = &seed.Seed{Version: seed.Version}
	} else {
		d.log.Info("seed", "from", where)
	}
	d.seed = s
	d.host.hostname = cmp.Or(s.Hostname, seed.DefaultHostname)
	if d.real() {
		if err := hostnet.SetHostname(d.host.hostname); err != nil {
			d.host.problem("host name", err)
		}
	}
}

func (d *daemon) findSeed(ctx context.Context) (*seed.Seed, string, error) {
	if d.real() {
		ctx, cancel := context.WithTimeout(ctx, seedWait)
		defer cancel()
		return seed.Load(ctx)
	}
	path := d.path("/seed/seed.json")
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	s, err := seed.Parse(b)
	return s, path, err
}

// openStorage makes the data disk available, if the seed names one. When it
// cannot be used the state is in memory: the host is to be reached and asked.
func (d *daemon) openStorage(ctx context.Context) error {
	if !d.real() {
		return nil
	}
	store, err := datadisk.Open(ctx, datadisk.Config{Disk: d.seed.DataDisk, MountPoint: "/data", Log: d.log})
	if err != nil {
		return err
	}
	d.store = store
	s := store.Status()
	d.log.Info("state", "persistent", s.Persistent, "device", s.Device, "filesystem", s.Filesystem)
	return nil
}

// storage tells where the state lives.
func (d *daemon) storage() (datadisk.Status, error) {
	if d.store != nil {
		return d.store.Status(), nil
	}
	fs, err := hostinfo.StatFS(d.data())
	if err != nil {
		return datadisk.Status{}, err
	}
	return datadisk.Status{Persistent: !fs.InMemory(), Filesystem: fs.Type, SizeBytes: fs.SizeBytes, FreeBytes: fs.FreeBytes}, nil
}
