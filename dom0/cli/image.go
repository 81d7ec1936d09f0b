package cli

import (
	"cmp"
	"context"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gozen/dom0/cli/table"
	"gozen/dom0/quantity"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

func (a *app) imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "image",
		Aliases: []string{"images"},
		Short:   "Upload and remove what guests start from: kernels and initrds",
		Example: "  gozen image upload linux /boot/vmlinuz\n  gozen image upload initrd /boot/initrd.img\n  gozen image ls",
	}
	makeGroup(cmd)
	cmd.AddCommand(a.imageUploadCommand(), a.imageListCommand(), a.imageInspectCommand(), a.imageRemoveCommand())
	return cmd
}

func kindName(k gozenv1.ImageKind) string {
	return strings.ToLower(strings.TrimPrefix(k.String(), "IMAGE_KIND_"))
}

func imageFormat(i *gozenv1.Image) string { return cmp.Or(i.GetFormat(), kindName(i.GetKind())) }

func (a *app) imageListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List images",
		Example: "  gozen image ls\n  gozen image ls -o wide",
		Args:    names(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := a.connect()
			if err != nil {
				return err
			}
			list, err := call(cmd.Context(), h.Images.List, &gozenv1.ListImagesRequest{})
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(list)
			}
			if len(list.Images) == 0 {
				a.note("No images on host %s. Upload a kernel: gozen image upload linux /boot/vmlinuz", h.context.Name)
				return nil
			}
			columns := []table.Column{
				{Title: "NAME", Min: 12}, {Title: "KIND"}, {Title: "SIZE", Right: true},
				{Title: "FORMAT", Min: 12}, {Title: "USED BY", Min: 12}, {Title: "AGE", Right: true},
			}
			if a.wide() {
				columns = append(columns, table.Column{Title: "SHA256"})
			}
			t := table.New(columns...)
			slices.SortFunc(list.Images, func(x, y *gozenv1.Image) int { return cmp.Compare(x.GetName(), y.GetName()) })
			for _, i := range list.Images {
				t.Row(i.GetName(), kindName(i.GetKind()), quantity.Bytes(i.GetSizeBytes()), i.GetFormat(),
					strings.Join(i.GetUsedBy(), ", "), age(i.GetCreatedAt()), hex.EncodeToString(i.GetSha256()))
			}
			return a.printTable(t)
		},
	}
}

func (a *app) imageInspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "inspect NAME...",
		Aliases: []string{"show"},
		Short:   "Show everything about images",
		Example: "  gozen image inspect linux",
		Args:    atLeastOne("NAME"), ValidArgsFunction: a.completeImages,
		RunE: a.forEach(func(ctx context.Context, h *host, name string) error {
			resp, err := call(ctx, h.Images.Get, &gozenv1.GetImageRequest{Name: name})
			if err != nil {
				return err
			}
			i := resp.Image
			if a.json() {
				return a.printJSON(i)
			}
			var s sheet
			s.add("Image", "%s", i.GetName())
			s.add("Kind", "%s", kindName(i.GetKind()))
			s.add("Format", "%s", i.GetFormat())
			s.add("Size", "%s (%d bytes)", quantity.Bytes(i.GetSizeBytes()), i.GetSizeBytes())
			s.add("SHA-256", "%s", hex.EncodeToString(i.GetSha256()))
			s.add("Used by", "%s", cmp.Or(strings.Join(i.GetUsedBy(), ", "), "nobody"))
			s.add("Created", "%s", moment(i.GetCreatedAt()))
			return s.print(a)
		}),
	}
}

func (a *app) imageRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"delete", "remove"},
		Short:   "Remove images that no guest names",
		Example: "  gozen image rm linux",
		Args:    atLeastOne("NAME"), ValidArgsFunction: a.completeImages,
		RunE: a.forEach(func(ctx context.Context, h *host, name string) error {
			if _, err := call(ctx, h.Images.Delete, &gozenv1.DeleteImageRequest{Name: name}); err != nil {
				return err
			}
			a.say("image %s removed", name)
			return nil
		}),
	}
}

func (a *app) imageUploadCommand() *cobra.Command {
	var kind, size string
	cmd := &cobra.Command{
		Use:   "upload NAME FILE|-",
		Short: "Upload a kernel or an initrd",
		Long: `Upload a kernel (bzImage or ELF vmlinux) or an initrd. Which of them it is, the
file itself tells; --kind says it where it does not. An upload that was cut leaves
nothing behind. From a pipe (-) --size, in bytes, is needed.`,
		Example: "  gozen image upload linux /boot/vmlinuz\n  gozen image upload initrd initrd.img --kind initrd",
		Args:    names("NAME", "FILE"), ValidArgsFunction: completeFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			var want uint64
			if size != "" {
				var err error
				if want, err = quantity.ParseBytes(size); err != nil {
					return usageError(cmd, "--size: %v", err)
				}
			}
			src, err := a.openSource(cmd, args[1], want, 1)
			if err != nil {
				return err
			}
			defer src.Close()
			if src.file && src.total != src.size {
				return usageError(cmd, "--size %s is not the size of %s; it is for pipes only", size, src.label)
			}
			k, err := src.imageKind(kind)
			if err != nil {
				return usageError(cmd, "%v", err)
			}
			h, err := a.connect()
			if err != nil {
				return err
			}
			up := &upload{app: a, kind: "image", name: args[0], src: src, imageKind: k}
			i, err := up.image(cmd.Context(), h)
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(i)
			}
			a.say("image %s uploaded: %s, %s", i.GetName(), imageFormat(i), quantity.Bytes(i.GetSizeBytes()))
			return nil
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "kernel or initrd (default: by the file's content)")
	cmd.Flags().StringVar(&size, "size", "", "size of what comes from a pipe")
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{"kernel", "initrd"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("size", cobra.NoFileCompletions)
	return cmd
}

// image runs the upload of an image.
func (u *upload) image(ctx context.Context, h *host) (*gozenv1.Image, error) {
	resp, err := send(ctx, u, h.Images.Upload, func(header *gozenv1.UploadHeader, chunk *gozenv1.UploadChunk, trailer *gozenv1.UploadTrailer) *gozenv1.UploadImageRequest {
		switch {
		case header != nil:
			return &gozenv1.UploadImageRequest{Part: &gozenv1.UploadImageRequest_Header{Header: header}}
		case chunk != nil:
			return &gozenv1.UploadImageRequest{Part: &gozenv1.UploadImageRequest_Chunk{Chunk: chunk}}
		}
		return &gozenv1.UploadImageRequest{Part: &gozenv1.UploadImageRequest_Trailer{Trailer: trailer}}
	})
	return resp.GetImage(), err
}
