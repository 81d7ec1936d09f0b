package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gozen/dom0/cli/guestspec"
	"gozen/dom0/quantity"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// completeTimeout bounds a look at the host while the admin waits behind a Tab.
const completeTimeout = 1500 * time.Millisecond

func (a *app) completionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that makes a shell complete gozen's commands and names",
		Long:  "Print a script that makes a shell complete commands, flags, and the names of\nguests, volumes, images and contexts (asked of the host).",
		Example: "  source <(gozen completion bash)        # this shell; put it into ~/.bashrc for all\n" +
			"  gozen completion zsh > \"${fpath[1]}/_gozen\"\n" +
			"  gozen completion fish > ~/.config/fish/completions/gozen.fish",
		Args:              names("SHELL (bash, zsh or fish)"),
		ValidArgsFunction: cobra.FixedCompletions([]string{"bash", "zsh", "fish"}, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(a.Out, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(a.Out)
			case "fish":
				return cmd.Root().GenFishCompletion(a.Out, true)
			}
			return usageError(cmd, "shell %q: want bash, zsh or fish", args[0])
		},
	}
	return cmd
}

// completer asks the host for names, each with a description behind a tab.
type completer func(ctx context.Context, h *host) ([]string, error)

// complete runs a completer and leaves out what is on the command line already.
// Every failure is an empty list: a shell's prompt is no place for errors.
func (a *app) complete(cmd *cobra.Command, used []string, list completer) ([]string, cobra.ShellCompDirective) {
	const only = cobra.ShellCompDirectiveNoFileComp
	if a.prepare(cmd) != nil {
		return nil, only
	}
	h, err := a.connect()
	if err != nil {
		return nil, only
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	found, err := list(ctx, h)
	if err != nil {
		return nil, only
	}
	taken := make(map[string]bool)
	for _, name := range used {
		taken[name] = true
	}
	var out []string
	for _, entry := range found {
		if name, _, _ := strings.Cut(entry, "\t"); !taken[name] {
			out = append(out, entry)
		}
	}
	return out, only
}

// completeGuests completes any number of guests.
func (a *app) completeGuests(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.complete(cmd, args, func(ctx context.Context, h *host) ([]string, error) {
		list, err := call(ctx, h.Guests.List, &gozenv1.ListGuestsRequest{})
		return texts(list.GetGuests(), func(g *gozenv1.Guest) string {
			return g.GetSpec().GetName() + "\t" + guestspec.StateName(g.GetStatus().GetState())
		}), err
	})
}

// firstOnly makes a completion of one argument from one of many.
func firstOnly(complete cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, typed)
	}
}

func (a *app) completeGuest(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return firstOnly(a.completeGuests)(cmd, args, typed)
}

func (a *app) completeVolumes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.complete(cmd, args, func(ctx context.Context, h *host) ([]string, error) {
		list, err := call(ctx, h.Volumes.List, &gozenv1.ListVolumesRequest{})
		return texts(list.GetVolumes(), func(v *gozenv1.Volume) string {
			text := v.GetName() + "\t" + quantity.Bytes(v.GetSizeBytes())
			if v.GetUsedBy() != "" {
				text += ", used by " + v.UsedBy
			}
			return text
		}), err
	})
}

func (a *app) completeImages(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return a.completeImagesOf(gozenv1.ImageKind_IMAGE_KIND_UNSPECIFIED)(cmd, args, typed)
}

// completeImagesOf completes images of a kind, or of any.
func (a *app) completeImagesOf(kind gozenv1.ImageKind) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.complete(cmd, args, func(ctx context.Context, h *host) ([]string, error) {
			list, err := call(ctx, h.Images.List, &gozenv1.ListImagesRequest{})
			var out []string
			for _, i := range list.GetImages() {
				if kind == gozenv1.ImageKind_IMAGE_KIND_UNSPECIFIED || i.GetKind() == kind {
					out = append(out, i.GetName()+"\t"+imageFormat(i))
				}
			}
			return out, err
		})
	}
}

// completeContexts completes one context; it needs no host.
func (a *app) completeContexts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || a.prepare(cmd) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	found, err := a.store.Names()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}
