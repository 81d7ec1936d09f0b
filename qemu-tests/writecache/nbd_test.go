package writecache

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// client is what a client sends, and what the server answered.
type client struct {
	io.Reader
	bytes.Buffer
}

func (c *client) Read(b []byte) (int, error) { return c.Reader.Read(b) }

func hello(flags uint32) []byte { return be.AppendUint32(nil, flags) }

func option(number uint32, data []byte) []byte {
	b := be.AppendUint64(nil, magicOption)
	b = be.AppendUint32(b, number)
	return append(be.AppendUint32(b, uint32(len(data))), data...)
}

// info is the data of NBD_OPT_INFO and NBD_OPT_GO.
func info(name string, items ...uint16) []byte {
	b := append(be.AppendUint32(nil, uint32(len(name))), name...)
	b = be.AppendUint16(b, uint16(len(items)))
	for _, i := range items {
		b = be.AppendUint16(b, i)
	}
	return b
}

func command(kind, flags uint16, off uint64, length uint32, data []byte) []byte {
	b := be.AppendUint32(nil, magicRequest)
	b = be.AppendUint16(b, flags)
	b = be.AppendUint16(b, kind)
	b = be.AppendUint64(b, off^0xc00c1e) // the cookie
	b = be.AppendUint64(b, off)
	return append(be.AppendUint32(b, length), data...)
}

var (
	chosen     = bytes.Join([][]byte{hello(3), option(optGo, info(""))}, nil)
	disconnect = command(cmdDisconnect, 0, 0, 0, nil)
)

// converse sends all parts and returns the answers.
func converse(c *cache, parts ...[]byte) ([]byte, error) {
	conn := &client{Reader: bytes.NewReader(bytes.Join(parts, nil))}
	err := serve(conn, c)
	return conn.Bytes(), err
}

func TestNegotiation(t *testing.T) {
	greeting := []byte("NBDMAGICIHAVEOPT\x00\x03")
	const size = testBlocks * BlockBytes
	granted := func(opt uint32) []byte {
		return bytes.Join([][]byte{
			optionReply(opt, repInfo, append(be.AppendUint64([]byte{0, 0}, size), 0, exportFlags)),
			optionReply(opt, repInfo, []byte{0, 3, 0, 0, 2, 0, 0, 0, 16, 0, 2, 0, 0, 0}),
			optionReply(opt, repAck, nil),
		}, nil)
	}
	oldExport := append(be.AppendUint64(nil, size), 0, exportFlags)
	for _, c := range []struct {
		name string
		send [][]byte
		want [][]byte
		err  error
	}{
		{"go", [][]byte{chosen, disconnect}, [][]byte{granted(optGo)}, nil},
		{"go with a name and wishes", [][]byte{hello(1), option(optGo, info("disk", 3, 7)), disconnect}, [][]byte{granted(optGo)}, nil},
		{"info, then go", [][]byte{hello(3), option(optInfo, info("")), option(optGo, info("")), disconnect},
			[][]byte{granted(optInfo), granted(optGo)}, nil},
		{"export name", [][]byte{hello(3), option(optExportName, []byte("x")), disconnect}, [][]byte{oldExport}, nil},
		{"export name, with zeroes", [][]byte{hello(1), option(optExportName, nil), disconnect}, [][]byte{oldExport, make([]byte, 124)}, nil},
		{"unknown option", [][]byte{hello(3), option(8, nil), option(optAbort, nil)},
			[][]byte{optionReply(8, repErrUnsup, nil), optionReply(optAbort, repAck, nil)}, nil},
		{"go with nothing", [][]byte{hello(3), option(optGo, nil), option(optAbort, nil)},
			[][]byte{optionReply(optGo, repErrInvalid, nil), optionReply(optAbort, repAck, nil)}, nil},
		{"go with a name too long", [][]byte{hello(3), option(optGo, []byte{255, 255, 255, 255, 0, 0}), option(optAbort, nil)},
			[][]byte{optionReply(optGo, repErrInvalid, nil), optionReply(optAbort, repAck, nil)}, nil},
		{"go with a list too short", [][]byte{hello(3), option(optGo, []byte{0, 0, 0, 0, 0, 2, 0, 3}), option(optAbort, nil)},
			[][]byte{optionReply(optGo, repErrInvalid, nil), optionReply(optAbort, repAck, nil)}, nil},
		{"old client", [][]byte{hello(0)}, nil, errProtocol},
		{"unknown handshake flag", [][]byte{hello(5)}, nil, errProtocol},
		{"wrong magic", [][]byte{hello(3), make([]byte, 16)}, nil, errProtocol},
		{"huge option", [][]byte{hello(3), be.AppendUint32(option(optGo, nil)[:12], maxOptionBytes+1)}, nil, errProtocol},
		{"cut off", [][]byte{hello(3), option(optGo, info(""))[:20]}, nil, io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := converse(testCache(t, 1), c.send...)
			if !errors.Is(err, c.err) {
				t.Errorf("ended with %v, want %v", err, c.err)
			}
			if diff := cmp.Diff(append(greeting, bytes.Join(c.want, nil)...), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	const size = testBlocks * BlockBytes
	ones := bytes.Repeat([]byte{1}, sectorBytes)
	zeros := make([]byte, sectorBytes)
	for _, c := range []struct {
		name string
		send [][]byte
		code uint32 // of the last request
		data []byte // what it gives
	}{
		{"read", [][]byte{command(cmdRead, 0, 0, 512, nil)}, 0, zeros},
		{"read what was written", [][]byte{command(cmdWrite, 0, 512, 512, ones), command(cmdRead, 0, 512, 512, nil)}, 0, ones},
		{"at the end", [][]byte{command(cmdWrite, cmdFlagFUA, size-512, 512, ones), command(cmdRead, 0, size-512, 512, nil)}, 0, ones},
		{"zeroes", [][]byte{command(cmdWrite, 0, 0, 512, ones), command(cmdWriteZeroes, cmdFlagNoHole, 0, 512, nil), command(cmdRead, 0, 0, 512, nil)}, 0, zeros},
		{"trim", [][]byte{command(cmdWrite, 0, 0, 512, ones), command(cmdTrim, 0, 0, BlockBytes, nil), command(cmdRead, 0, 0, 512, nil)}, 0, zeros},
		{"flush", [][]byte{command(cmdFlush, 0, 0, 0, nil)}, 0, nil},
		{"beyond the end", [][]byte{command(cmdRead, 0, size, 512, nil)}, errInvalid, nil},
		{"over the end", [][]byte{command(cmdWrite, 0, size-512, 1024, append(ones, ones...))}, errInvalid, nil},
		{"far", [][]byte{command(cmdWriteZeroes, 0, 1<<64-512, 512, nil)}, errInvalid, nil},
		{"not at a sector", [][]byte{command(cmdRead, 0, 1, 512, nil)}, errInvalid, nil},
		{"not a sector", [][]byte{command(cmdRead, 0, 0, 100, nil)}, errInvalid, nil},
		{"unknown command", [][]byte{command(99, 0, 0, 0, nil)}, errInvalid, nil},
		{"unknown flag", [][]byte{command(cmdRead, 4, 0, 512, nil)}, errInvalid, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := testCache(t, 1)
			start, err := converse(cache, chosen, disconnect)
			if err != nil {
				t.Fatal(err)
			}
			got, err := converse(cache, append(append([][]byte{chosen}, c.send...), disconnect)...)
			if err != nil {
				t.Error(err)
			}
			last := c.send[len(c.send)-1]
			want := be.AppendUint32(nil, magicSimpleReply)
			want = be.AppendUint32(want, c.code)
			want = append(append(want, last[8:16]...), c.data...)
			if got = got[len(start)+16*(len(c.send)-1):]; !bytes.Equal(got, want) {
				t.Errorf("answered %x, want %x", got, want)
			}
		})
	}
	for name, broken := range map[string][]byte{
		"wrong magic": make([]byte, 28),
		"huge write":  command(cmdWrite, 0, 0, maxDataBytes+512, nil),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := converse(testCache(t, 1), chosen, broken, disconnect); !errors.Is(err, errProtocol) {
				t.Errorf("ended with %v, want %v", err, errProtocol)
			}
		})
	}
}

// Whatever a client sends, the session ends and the disk works afterwards.
func FuzzServe(f *testing.F) {
	ones := bytes.Repeat([]byte{1}, sectorBytes)
	for _, seed := range [][]byte{
		nil,
		hello(3),
		option(optExportName, []byte("x")),
		command(cmdWrite, 0, 512, 512, ones),
		append(command(cmdWriteZeroes, 0, 512, 512, nil), command(cmdFlush, 0, 0, 0, nil)...),
		append(command(cmdTrim, 0, 0, 8192, nil), command(cmdRead, 0, 0, 512, nil)...),
		append(command(cmdRead, 0, 1<<63, 1<<31, nil), disconnect...),
	} {
		f.Add(append(bytes.Clone(chosen), seed...))
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		c := testCache(t, 1)
		_, _ = converse(c, sent)
		start, err := converse(c, chosen, disconnect)
		if err != nil {
			t.Fatal(err)
		}
		ones := bytes.Repeat([]byte{1}, sectorBytes)
		got, err := converse(c, chosen, command(cmdWrite, 0, 0, 512, ones), command(cmdRead, 0, 0, 512, nil), disconnect)
		if err != nil || !bytes.Equal(got[len(start)+32:], ones) {
			t.Errorf("the disk does not work afterwards: %v", err)
		}
	})
}
