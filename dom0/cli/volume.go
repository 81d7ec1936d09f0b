package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gozen/dom0/cli/table"
	"gozen/dom0/quantity"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// sectorSize is what the size of a volume must be a multiple of, in bytes.
const sectorSize = 512

func (a *app) volumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "volume",
		Aliases: []string{"volumes", "vol"},
		Short:   "Create, upload and remove volumes (virtual disks)",
		Example: "  gozen volume create data --size 20GiB\n  gozen volume upload root debian.raw\n  gozen volume ls",
	}
	makeGroup(cmd)
	cmd.AddCommand(a.volumeCreateCommand(), a.volumeListCommand(), a.volumeInspectCommand(), a.volumeRemoveCommand(), a.volumeUploadCommand())
	return cmd
}

func (a *app) volumeCreateCommand() *cobra.Command {
	var size string
	cmd := &cobra.Command{
		Use:     "create NAME --size SIZE",
		Short:   "Create an empty volume",
		Long:    "Create an empty volume. It takes space on the host's data disk only as far as\nguests write to it.",
		Example: "  gozen volume create data --size 20GiB",
		Args:    names("NAME"), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if size == "" {
				return usageError(cmd, "--size is missing, such as --size 20GiB")
			}
			n, err := parseVolumeSize(size)
			if err != nil {
				return usageError(cmd, "--size: %v", err)
			}
			h, err := a.connect()
			if err != nil {
				return err
			}
			resp, err := call(cmd.Context(), h.Volumes.Create, &gozenv1.CreateVolumeRequest{Name: args[0], SizeBytes: n})
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(resp.Volume)
			}
			a.say("volume %s created, %s", resp.Volume.GetName(), quantity.Bytes(resp.Volume.GetSizeBytes()))
			return nil
		},
	}
	cmd.Flags().StringVar(&size, "size", "", "size, such as 512MiB or 20GiB")
	_ = cmd.RegisterFlagCompletionFunc("size", cobra.NoFileCompletions)
	return cmd
}

func parseVolumeSize(s string) (uint64, error) {
	n, err := quantity.ParseBytes(s)
	switch {
	case err != nil:
		return 0, err
	case n == 0:
		return 0, fmt.Errorf("size %q: a volume holds at least one sector of %d bytes", s, sectorSize)
	case n%sectorSize != 0:
		return 0, fmt.Errorf("size %q: %d bytes are not a multiple of %d", s, n, sectorSize)
	case n >= 1<<63:
		return 0, fmt.Errorf("size %q: too large", s)
	}
	return n, nil
}

func (a *app) volumeListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List volumes",
		Example: "  gozen volume ls\n  gozen volume ls -o json | jq -r '.volumes[] | select(.usedBy==\"\").name'",
		Args:    names(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := a.connect()
			if err != nil {
				return err
			}
			list, err := call(cmd.Context(), h.Volumes.List, &gozenv1.ListVolumesRequest{})
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(list)
			}
			if len(list.Volumes) == 0 {
				a.note("No volumes on host %s. Make one: gozen volume create NAME --size 20GiB, or gozen volume upload NAME FILE", h.context.Name)
				return nil
			}
			columns := []table.Column{
				{Title: "NAME", Min: 12}, {Title: "SIZE", Right: true}, {Title: "ALLOCATED", Right: true},
				{Title: "USED BY", Min: 12}, {Title: "AGE", Right: true},
			}
			if a.wide() {
				columns = append(columns, table.Column{Title: "BYTES", Right: true}, table.Column{Title: "CREATED"})
			}
			t := table.New(columns...)
			slices.SortFunc(list.Volumes, func(x, y *gozenv1.Volume) int { return cmp.Compare(x.GetName(), y.GetName()) })
			for _, v := range list.Volumes {
				t.Row(v.GetName(), quantity.Bytes(v.GetSizeBytes()), quantity.Bytes(v.GetAllocatedBytes()), v.GetUsedBy(),
					age(v.GetCreatedAt()), fmt.Sprint(v.GetSizeBytes()), date(v.GetCreatedAt()))
			}
			return a.printTable(t)
		},
	}
}

func (a *app) volumeInspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "inspect NAME...",
		Aliases: []string{"show"},
		Short:   "Show everything about volumes",
		Example: "  gozen volume inspect root\n  gozen volume inspect root -o json | jq -r .allocatedBytes",
		Args:    atLeastOne("NAME"), ValidArgsFunction: a.completeVolumes,
		RunE: a.forEach(func(ctx context.Context, h *host, name string) error {
			resp, err := call(ctx, h.Volumes.Get, &gozenv1.GetVolumeRequest{Name: name})
			if err != nil {
				return err
			}
			v := resp.Volume
			if a.json() {
				return a.printJSON(v)
			}
			var s sheet
			s.add("Volume", "%s", v.GetName())
			s.add("Size", "%s (%d bytes)", quantity.Bytes(v.GetSizeBytes()), v.GetSizeBytes())
			s.add("Allocated", "%s", quantity.Bytes(v.GetAllocatedBytes()))
			s.add("Used by", "%s", cmp.Or(v.GetUsedBy(), "nobody"))
			s.add("Created", "%s", moment(v.GetCreatedAt()))
			return s.print(a)
		}),
	}
}

func (a *app) volumeRemoveCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"delete", "remove"},
		Short:   "Remove volumes and all data on them",
		Example: "  gozen volume rm data\n  gozen volume rm data scratch --yes",
		Args:    atLeastOne("NAME"), ValidArgsFunction: a.completeVolumes,
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := a.connect()
			if err != nil {
				return err
			}
			question := fmt.Sprintf("All data on volume %s will be lost.", strings.Join(args, ", "))
			if err := a.confirm(cmd, yes, question); err != nil {
				return err
			}
			return a.each(cmd.Context(), args, func(name string) error {
				if _, err := call(cmd.Context(), h.Volumes.Delete, &gozenv1.DeleteVolumeRequest{Name: name}); err != nil {
					return err
				}
				a.say("volume %s removed", name)
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) volumeUploadCommand() *cobra.Command {
	var (
		size string
		asIs bool
	)
	cmd := &cobra.Command{
		Use:   "upload NAME FILE|-",
		Short: "Create a volume from a raw disk image",
		Long: `Create a volume from a raw disk image. Holes and long runs of zeros are not sent,
and take no space on the host. The volume appears when all of it has arrived and
its SHA-256 matched; an upload that was cut leaves nothing behind.

With --size the volume is larger than the file; the rest reads as zeros. From a
pipe (-) --size is needed, as the host wants to know the size first.`,
		Example: "  gozen volume upload root debian.raw\n" +
			"  gozen volume upload root debian.raw --size 20GiB\n" +
			"  zstd -dc debian.raw.zst | gozen volume upload root - --size 20GiB",
		Args: names("NAME", "FILE"), ValidArgsFunction: completeFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			want := uint64(0)
			if size != "" {
				var err error
				if want, err = parseVolumeSize(size); err != nil {
					return usageError(cmd, "--size: %v", err)
				}
			}
			src, err := a.openSource(cmd, args[1], want, sectorSize)
			if err != nil {
				return err
			}
			defer src.Close()
			if err := src.checkRaw(asIs); err != nil {
				return err
			}
			h, err := a.connect()
			if err != nil {
				return err
			}
			up := &upload{app: a, kind: "volume", name: args[0], src: src}
			v, err := up.volume(cmd.Context(), h)
			if err != nil {
				return err
			}
			if !src.file && src.Size() < src.total {
				a.note("%s ended after %s; the rest of the volume is zeros", src.label, quantity.Bytes(uint64(src.Size())))
			}
			if a.json() {
				return a.printJSON(v)
			}
			a.say("volume %s uploaded: %s, %s", v.GetName(), quantity.Bytes(v.GetSizeBytes()), up.summary())
			return nil
		},
	}
	cmd.Flags().StringVar(&size, "size", "", "size of the volume (default: that of the file)")
	cmd.Flags().BoolVar(&asIs, "as-is", false, "take the file even if it looks like a compressed or qcow2 image")
	_ = cmd.RegisterFlagCompletionFunc("size", cobra.NoFileCompletions)
	return cmd
}

// completeFile completes the second argument by files, the first by nothing.
func completeFile(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// volume runs the upload of a volume.
func (u *upload) volume(ctx context.Context, h *host) (*gozenv1.Volume, error) {
	resp, err := send(ctx, u, h.Volumes.Upload, func(header *gozenv1.UploadHeader, chunk *gozenv1.UploadChunk, trailer *gozenv1.UploadTrailer) *gozenv1.UploadVolumeRequest {
		switch {
		case header != nil:
			return &gozenv1.UploadVolumeRequest{Part: &gozenv1.UploadVolumeRequest_Header{Header: header}}
		case chunk != nil:
			return &gozenv1.UploadVolumeRequest{Part: &gozenv1.UploadVolumeRequest_Chunk{Chunk: chunk}}
		}
		return &gozenv1.UploadVolumeRequest{Part: &gozenv1.UploadVolumeRequest_Trailer{Trailer: trailer}}
	})
	return resp.GetVolume(), err
}
