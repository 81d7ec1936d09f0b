package writecache

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Negotiation (proto.md, "Fixed newstyle negotiation").
const (
	magicServer = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption = 0x49484156454f5054 // "IHAVEOPT"
	magicReply  = 0x0003e889045565a9

	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1

	optExportName = 1
	optAbort      = 2
	optInfo       = 6
	optGo         = 7

	repAck        = 1
	repInfo       = 3
	repErrUnsup   = 1<<31 + 1
	repErrInvalid = 1<<31 + 3

	infoExport    = 0
	infoBlockSize = 3

	maxOptionBytes = 4096 // a name, the longest data of an option, has as many at most
)

// Transmission (proto.md, "Transmission phase").
const (
	magicRequest     = 0x25609513
	magicSimpleReply = 0x67446698

	exportFlags = 1<<0 | 1<<2 | 1<<3 | 1<<5 | 1<<6 // has flags, flush, FUA, trim, write zeroes

	cmdRead        = 0
	cmdWrite       = 1
	cmdDisconnect  = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdWriteZeroes = 6

	cmdFlagFUA    = 1 << 0
	cmdFlagNoHole = 1 << 1

	errIO      = 5  // EIO
	errInvalid = 22 // EINVAL

	sectorBytes  = 512
	maxDataBytes = 32 << 20 // of one read or write; what clients assume without being told
)

var (
	errProtocol = errors.New("the client breaks the protocol")
	errEnded    = errors.New("the client ended the session")
)

var be = binary.BigEndian

// serve is a whole session with a client. Requests are answered one after another,
// so a flush covers all that were answered before.
func serve(conn io.ReadWriter, c *cache) error {
	in := bufio.NewReader(conn)
	err := negotiate(in, conn, c.size)
	for err == nil {
		err = answer(in, conn, c)
	}
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}

// negotiate ends when the client has chosen the export. There is one, which
// answers to every name.
func negotiate(in io.Reader, out io.Writer, size int64) error {
	hello := be.AppendUint64(nil, magicServer)
	hello = be.AppendUint64(hello, magicOption)
	hello = be.AppendUint16(hello, flagFixedNewstyle|flagNoZeroes)
	if _, err := out.Write(hello); err != nil {
		return err
	}
	var flags uint32
	if err := binary.Read(in, be, &flags); err != nil {
		return err
	}
	if flags&flagFixedNewstyle == 0 || flags&^(flagFixedNewstyle|flagNoZeroes) != 0 {
		return fmt.Errorf("%w: handshake flags %#x", errProtocol, flags)
	}
	for {
		var header struct {
			Magic          uint64
			Option, Length uint32
		}
		if err := binary.Read(in, be, &header); err != nil {
			return err
		}
		if header.Magic != magicOption || header.Length > maxOptionBytes {
			return fmt.Errorf("%w: option with magic %#x and %d bytes", errProtocol, header.Magic, header.Length)
		}
		data := make([]byte, header.Length)
		if _, err := io.ReadFull(in, data); err != nil {
			return err
		}
		var reply []byte
		chosen := false
		switch header.Option {
		case optExportName:
			reply = be.AppendUint16(be.AppendUint64(nil, uint64(size)), exportFlags)
			if flags&flagNoZeroes == 0 {
				reply = append(reply, make([]byte, 124)...)
			}
			chosen = true
		case optInfo, optGo:
			if !validInfo(data) {
				reply = optionReply(header.Option, repErrInvalid, nil)
				break
			}
			reply = append(exportInfo(header.Option, size), optionReply(header.Option, repAck, nil)...)
			chosen = header.Option == optGo
		case optAbort:
			reply = optionReply(header.Option, repAck, nil)
		default:
			reply = optionReply(header.Option, repErrUnsup, nil)
		}
		if _, err := out.Write(reply); err != nil {
			return err
		}
		if header.Option == optAbort {
			return errEnded
		}
		if chosen {
			return nil
		}
	}
}

// validInfo says whether the data of NBD_OPT_INFO or NBD_OPT_GO is well formed: a
// name with its length, and a list of numbers with its length.
func validInfo(data []byte) bool {
	if len(data) < 6 {
		return false
	}
	name := uint64(be.Uint32(data))
	if name > uint64(len(data)-6) {
		return false
	}
	list := data[4+name:]
	return len(list) == 2+2*int(be.Uint16(list))
}

// exportInfo tells the size and the limits of requests.
func exportInfo(option uint32, size int64) []byte {
	export := be.AppendUint16(nil, infoExport)
	export = be.AppendUint64(export, uint64(size))
	export = be.AppendUint16(export, exportFlags)
	limits := be.AppendUint16(nil, infoBlockSize)
	for _, n := range []uint32{sectorBytes, BlockBytes, maxDataBytes} {
		limits = be.AppendUint32(limits, n)
	}
	return append(optionReply(option, repInfo, export), optionReply(option, repInfo, limits)...)
}

func optionReply(option, kind uint32, data []byte) []byte {
	b := be.AppendUint64(nil, magicReply)
	b = be.AppendUint32(b, option)
	b = be.AppendUint32(b, kind)
	b = be.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

type request struct {
	Magic       uint32
	Flags, Type uint16
	Cookie      uint64
	Offset      uint64
	Length      uint32
}

// answer takes one request and answers it.
func answer(in io.Reader, out io.Writer, c *cache) error {
	var r request
	if err := binary.Read(in, be, &r); err != nil {
		return err
	}
	if r.Magic != magicRequest {
		return fmt.Errorf("%w: request with magic %#x", errProtocol, r.Magic)
	}
	if r.Type == cmdDisconnect {
		return errEnded
	}
	if r.Type == cmdFlush && c.stalls() {
		<-c.off
		return errEnded
	}
	var data []byte
	if r.Type == cmdWrite {
		// Without its data the stream has no next request.
		if r.Length > maxDataBytes {
			return fmt.Errorf("%w: write of %d bytes", errProtocol, r.Length)
		}
		data = make([]byte, r.Length)
		if _, err := io.ReadFull(in, data); err != nil {
			return err
		}
	}
	content, code := r.execute(c, data)
	reply := make([]byte, 0, 16+len(content))
	reply = be.AppendUint32(reply, magicSimpleReply)
	reply = be.AppendUint32(reply, code)
	reply = be.AppendUint64(reply, r.Cookie)
	_, err := out.Write(append(reply, content...))
	return err
}

// execute returns what a read gives, and the protocol's error number.
func (r *request) execute(c *cache, data []byte) (content []byte, code uint32) {
	if r.Flags&^(cmdFlagFUA|cmdFlagNoHole) != 0 || !r.inRange(c.size) {
		return nil, errInvalid
	}
	off, length, through := int64(r.Offset), int64(r.Length), r.Flags&cmdFlagFUA != 0
	var err error
	switch r.Type {
	case cmdRead:
		if length > maxDataBytes {
			return nil, errInvalid
		}
		content = make([]byte, length)
		err = c.read(content, off)
	case cmdWrite:
		err = c.write(data, off, through)
	case cmdWriteZeroes:
		err = c.zero(off, length, through)
	case cmdTrim:
		err = c.discard(off, length)
	case cmdFlush:
		err = c.flush()
	default:
		return nil, errInvalid
	}
	if err != nil {
		return nil, errIO
	}
	return content, 0
}

// inRange says whether the request is for whole sectors of the disk; a flush is
// for none.
func (r *request) inRange(size int64) bool {
	return r.Offset%sectorBytes == 0 && r.Length%sectorBytes == 0 &&
		r.Offset <= uint64(size) && uint64(r.Length) <= uint64(size)-r.Offset
}
