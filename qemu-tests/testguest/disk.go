package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const blockSize = 4096

// block is the content of a block: it tells its own number and seed everywhere.
func block(number, seed uint64) []byte {
	b := make([]byte, blockSize)
	for i := 0; i < blockSize; i += 16 {
		binary.LittleEndian.PutUint64(b[i:], number)
		binary.LittleEndian.PutUint64(b[i+8:], seed*0x9e3779b97f4a7c15+number+uint64(i))
	}
	return b
}

func numbers(args []string) ([]uint64, error) {
	out := make([]uint64, len(args))
	for i, a := range args {
		n, err := strconv.ParseUint(a, 0, 64)
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}

func diskWrite(args []string) error {
	n, err := numbers(args[1:])
	if err != nil {
		return err
	}
	f, err := os.OpenFile(args[0], os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := n[0]; i < n[0]+n[1]; i++ {
		if _, err := f.WriteAt(block(i, n[2]), int64(i*blockSize)); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	fmt.Printf("wrote %d blocks\n", n[1])
	return nil
}

func diskVerify(args []string) error {
	n, err := numbers(args[1:])
	if err != nil {
		return err
	}
	f, err := os.OpenFile(args[0], os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// What is checked must come from the disk, not from the page cache.
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return err
	}
	got := make([]byte, blockSize)
	for i := n[0]; i < n[0]+n[1]; i++ {
		if _, err := f.ReadAt(got, int64(i*blockSize)); err != nil {
			return err
		}
		if !bytes.Equal(got, block(i, n[2])) {
			return fmt.Errorf("block %d differs", i)
		}
	}
	fmt.Printf("verified %d blocks\n", n[1])
	return nil
}

// diskStream writes blocks one after another and says "synced N" only when block
// N and all before it were synced. It ends with the disk.
func diskStream(args []string) error {
	seed, err := strconv.ParseUint(args[1], 0, 64)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(args[0], os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	for i := uint64(0); i < uint64(size)/blockSize; i++ {
		if _, err := f.WriteAt(block(i, seed), int64(i*blockSize)); err != nil {
			return err
		}
		if i%8 == 7 {
			if err := f.Sync(); err != nil {
				return err
			}
			fmt.Printf("synced %d\n", i)
		}
	}
	return nil
}

func diskDiscard(args []string) error { return blockRange(args, unix.BLKDISCARD) }
func diskZero(args []string) error    { return blockRange(args, unix.BLKZEROOUT) }

// entropy reads from the hardware generator and checks that it is not constant.
func entropy(args []string) error {
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	f, err := os.Open("/dev/hwrng")
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, want)
	start := time.Now()
	if _, err := io.ReadFull(f, b); err != nil {
		return err
	}
	var seen [256]bool
	kinds := 0
	for _, v := range b {
		if !seen[v] {
			seen[v] = true
			kinds++
		}
	}
	fmt.Printf("entropy %d bytes, %d values, %d ms\n", want, kinds, time.Since(start).Milliseconds())
	return nil
}

// touch makes that much memory resident.
func touch(args []string) error {
	mib, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	b, err := unix.Mmap(-1, 0, mib<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	fmt.Printf("touched %d MiB\n", mib)
	return nil
}
