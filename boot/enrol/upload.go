package enrol

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"connectrpc.com/connect"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// chunkSize is the amount of data in one message, in bytes; the API allows 1 MiB.
const chunkSize = 512 << 10

// UploadImage uploads a file as an image.
func (c *Client) UploadImage(ctx context.Context, name string, kind gozenv1.ImageKind, file string) (*gozenv1.Image, error) {
	fail := func(err error) (*gozenv1.Image, error) {
		return nil, fmt.Errorf("upload %s as image %s: %w", file, name, err)
	}
	f, err := os.Open(file)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	stream := c.Images.Upload(ctx)
	err = stream.Send(&gozenv1.UploadImageRequest{Part: &gozenv1.UploadImageRequest_Header{
		Header: &gozenv1.UploadHeader{Name: name, SizeBytes: uint64(info.Size()), Kind: kind}}})
	if err == nil {
		err = sendContent(stream, f)
	}
	// When the host refused, Send says EOF only; the answer says why.
	if err != nil && !errors.Is(err, io.EOF) {
		return fail(err)
	}
	resp, err := stream.CloseAndReceive()
	if err != nil {
		return fail(err)
	}
	return resp.Msg.GetImage(), nil
}

// sendContent sends a file in chunks, then its digest.
func sendContent(stream *connect.ClientStreamForClient[gozenv1.UploadImageRequest, gozenv1.UploadImageResponse], f io.Reader) error {
	sum := sha256.New()
	buf := make([]byte, chunkSize)
	for offset := uint64(0); ; {
		n, err := io.ReadFull(f, buf)
		if n > 0 {
			sum.Write(buf[:n])
			chunk := &gozenv1.UploadChunk{Offset: offset, Data: buf[:n]}
			if err := stream.Send(&gozenv1.UploadImageRequest{Part: &gozenv1.UploadImageRequest_Chunk{Chunk: chunk}}); err != nil {
				return err
			}
			offset += uint64(n)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	trailer := &gozenv1.UploadTrailer{Sha256: sum.Sum(nil)}
	return stream.Send(&gozenv1.UploadImageRequest{Part: &gozenv1.UploadImageRequest_Trailer{Trailer: trailer}})
}
