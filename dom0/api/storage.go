package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"gozen/dom0/fault"
	"gozen/dom0/images"
	"gozen/dom0/volumes"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// volumeService implements gozenv1connect.VolumeServiceHandler.
type volumeService struct{ s Services }

func volume(v volumes.Volume) *gozenv1.Volume {
	return &gozenv1.Volume{
		Name: v.Name, SizeBytes: v.SizeBytes, AllocatedBytes: v.AllocatedBytes,
		CreatedAt: timestamppb.New(v.CreatedAt), UsedBy: strings.Join(v.UsedBy, ", "),
	}
}

func (v volumeService) Create(_ context.Context, req *connect.Request[gozenv1.CreateVolumeRequest]) (*connect.Response[gozenv1.CreateVolumeResponse], error) {
	vol, err := v.s.Volumes.Create(req.Msg.Name, req.Msg.SizeBytes)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&gozenv1.CreateVolumeResponse{Volume: volume(vol)}), nil
}

func (v volumeService) List(context.Context, *connect.Request[gozenv1.ListVolumesRequest]) (*connect.Response[gozenv1.ListVolumesResponse], error) {
	all, err := v.s.Volumes.List()
	if err != nil {
		return nil, err
	}
	resp := &gozenv1.ListVolumesResponse{}
	for _, vol := range all {
		resp.Volumes = append(resp.Volumes, volume(vol))
	}
	return connect.NewResponse(resp), nil
}

func (v volumeService) Get(_ context.Context, req *connect.Request[gozenv1.GetVolumeRequest]) (*connect.Response[gozenv1.GetVolumeResponse], error) {
	vol, err := v.s.Volumes.Get(req.Msg.Name)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&gozenv1.GetVolumeResponse{Volume: volume(vol)}), nil
}

func (v volumeService) Delete(_ context.Context, req *connect.Request[gozenv1.DeleteVolumeRequest]) (*connect.Response[gozenv1.DeleteVolumeResponse], error) {
	if err := v.s.Volumes.Delete(req.Msg.Name); err != nil {
		return nil, err
	}
	return connect.NewResponse(&gozenv1.DeleteVolumeResponse{}), nil
}

func (v volumeService) Upload(_ context.Context, stream *connect.ClientStream[gozenv1.UploadVolumeRequest]) (*connect.Response[gozenv1.UploadVolumeResponse], error) {
	vol, err := receive(stream, func(h *gozenv1.UploadHeader) (incoming[volumes.Volume], error) {
		return v.s.Volumes.Upload(h.Name, h.SizeBytes)
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&gozenv1.UploadVolumeResponse{Volume: volume(vol)}), nil
}

// imageService implements gozenv1connect.ImageServiceHandler.
type imageService struct{ s Services }

var kinds = map[gozenv1.ImageKind]images.Kind{
	gozenv1.ImageKind_IMAGE_KIND_KERNEL: images.Kernel,
	gozenv1.ImageKind_IMAGE_KIND_INITRD: images.Initrd,
}

func image(i images.Image) *gozenv1.Image {
	out := &gozenv1.Image{
		Name: i.Name, SizeBytes: i.SizeBytes, Sha256: i.SHA256, Format: i.Format,
		CreatedAt: timestamppb.New(i.CreatedAt), UsedBy: i.UsedBy,
	}
	for k, kind := range kinds {
		if kind == i.Kind {
			out.Kind = k
		}
	}
	return out
}

func (i imageService) List(context.Context, *connect.Request[gozenv1.ListImagesRequest]) (*connect.Response[gozenv1.ListImagesResponse], error) {
	resp := &gozenv1.ListImagesResponse{}
	for _, img := range i.s.Images.List() {
		resp.Images = append(resp.Images, image(img))
	}
	return connect.NewResponse(resp), nil
}

func (i imageService) Get(_ context.Context, req *connect.Request[gozenv1.GetImageRequest]) (*connect.Response[gozenv1.GetImageResponse], error) {
	img, err := i.s.Images.Get(req.Msg.Name)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&gozenv1.GetImageResponse{Image: image(img)}), nil
}

func (i imageService) Delete(_ context.Context, req *connect.Request[gozenv1.DeleteImageRequest]) (*connect.Response[gozenv1.DeleteImageResponse], error) {
	if err := i.s.Images.Delete(req.Msg.Name); err != nil {
		return nil, err
	}
	return connect.NewResponse(&gozenv1.DeleteImageResponse{}), nil
}

func (i imageService) Upload(_ context.Context, stream *connect.ClientStream[gozenv1.UploadImageRequest]) (*connect.Response[gozenv1.UploadImageResponse], error) {
	img, err := receive(stream, func(h *gozenv1.UploadHeader) (incoming[images.Image], error) {
		return i.s.Images.Upload(h.Name, kinds[h.Kind], h.SizeBytes)
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&gozenv1.UploadImageResponse{Image: image(img)}), nil
}

// incoming is a volume or an image on its way in, which becomes a T.
type incoming[T any] interface {
	Write(offset uint64, data []byte) error
	Commit(sha256 []byte) (T, error)
	Abort()
}

// uploadPart is what the messages of both kinds of upload have in common.
type uploadPart interface {
	GetHeader() *gozenv1.UploadHeader
	GetChunk() *gozenv1.UploadChunk
	GetTrailer() *gozenv1.UploadTrailer
}

// receive takes an upload from its header to its trailer. However it ends, there
// is a whole T or nothing.
func receive[T, M any, P interface {
	*M
	uploadPart
}](stream *connect.ClientStream[M], begin func(*gozenv1.UploadHeader) (incoming[T], error)) (T, error) {
	var zero T
	if !stream.Receive() {
		return zero, cut("upload", stream.Err())
	}
	header := P(stream.Msg()).GetHeader()
	if header == nil {
		return zero, fault.New(fault.Invalid, "upload: the first message must be the header")
	}
	in, err := begin(header)
	if err != nil {
		return zero, err
	}
	defer in.Abort()
	for stream.Receive() {
		msg := P(stream.Msg())
		switch {
		case msg.GetChunk() != nil:
			if err := in.Write(msg.GetChunk().Offset, msg.GetChunk().Data); err != nil {
				return zero, err
			}
		case msg.GetTrailer() != nil:
			return in.Commit(msg.GetTrailer().Sha256)
		default:
			return zero, fault.New(fault.Invalid, "upload: a message after the header must be a chunk or the trailer")
		}
	}
	return zero, cut(fmt.Sprintf("upload of %q", header.GetName()), stream.Err())
}

// cut explains a stream that ended before the trailer.
func cut(what string, err error) error {
	var refused *connect.Error
	if errors.As(err, &refused) {
		return err // the message was too large, or no message at all
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fault.New(fault.Aborted, "%s: the stream ended before its trailer: nothing was kept; send it again", what)
	}
	return fault.New(fault.Aborted, "%s: the stream was cut: nothing was kept; send it again: %w", what, err)
}
