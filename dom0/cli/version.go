package cli

import (
	"context"
	"encoding/json"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// Version is set at link time: -X gozen/dom0/cli.Version=1.2.3.
var Version string

// clientVersion returns the version of this program: the one it was linked with,
// else the one of the module, else "dev".
func clientVersion() string {
	if Version != "" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

func (a *app) versionCommand() *cobra.Command {
	var askHost bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Show the version of this program, and of a host",
		Example: "  gozen version\n  gozen version --host",
		Args:    names(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := map[string]string{"client": clientVersion(), "go": runtime.Version()}
			if askHost {
				h, err := a.connect()
				if err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
				defer cancel()
				info, err := call(ctx, h.Hosts.GetInfo, &gozenv1.GetInfoRequest{})
				if err != nil {
					return err
				}
				out["host"], out["platform"] = info.Version, info.Platform
			}
			if a.json() {
				enc := json.NewEncoder(a.Out)
				enc.SetIndent("", "  ")
				return enc.Encode(out)
			}
			a.say("gozen %s (%s)", out["client"], out["go"])
			if askHost {
				a.say("host %s: %s, platform %s", a.host.Context.Name, out["host"], out["platform"])
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&askHost, "host", false, "ask the host as well")
	return cmd
}
