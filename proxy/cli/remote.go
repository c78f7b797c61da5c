package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signalpost/proxy/api"
	"signalpost/proxy/client"
	"signalpost/proxy/config"
	"signalpost/proxy/term"
)

// remote makes c a command that asks the running sidecar.
func remote(c *cobra.Command, ask func(ctx context.Context, sidecar *client.Client, out output, args []string) error) *cobra.Command {
	f := c.Flags()
	f.StringP("config", "c", "", "find the sidecar by its config `FILE` (default signalpost.toml, or SIGNALPOST_CONFIG)")
	f.String("server", "", "find the sidecar at `URL`: http://HOST:PORT or unix:PATH; token from SIGNALPOST_TOKEN")
	jsonFlag(c)
	c.MarkFlagFilename("config", "toml")
	if f.Lookup("route") != nil {
		c.RegisterFlagCompletionFunc("route", completeRoutes)
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		sidecar, err := connect(c)
		if err != nil {
			return err
		}
		said, stderr := map[string]bool{}, term.NewPage(c.ErrOrStderr())
		sidecar.Missing = func(all []string) {
			for _, who := range all {
				if !said[who] {
					stderr.Printf("%s\n", stderr.In(term.Yellow, term.Wrap("missing, with all that it has: "+who, 0)))
				}
				said[who] = true
			}
		}
		return ask(c.Context(), sidecar, newOutput(c), args)
	}
	return c
}

// A queryFlag is a flag that becomes a parameter of a request.
type queryFlag struct{ name, short, usage string }

// queryFlags adds flags to c, and returns a function that reads those given.
func queryFlags(c *cobra.Command, flags []queryFlag) func() url.Values {
	for _, f := range flags {
		c.Flags().StringP(f.name, f.short, "", f.usage)
	}
	return func() url.Values {
		query := url.Values{}
		for _, f := range flags {
			if value := c.Flags().Lookup(f.name); value.Changed {
				query.Set(strings.ReplaceAll(f.name, "-", "_"), value.Value.String())
			}
		}
		return query
	}
}

// connect finds the sidecar by the flags, the environment or the config, else where
// sidecars listen by default.
func connect(c *cobra.Command) (*client.Client, error) {
	token := os.Getenv("SIGNALPOST_TOKEN")
	if server, _ := c.Flags().GetString("server"); server != "" {
		if c.Flags().Changed("config") {
			return nil, usage("--server and --config both say where the sidecar is; give one of them")
		}
		sidecar, err := client.New(server, token)
		if err != nil {
			err = usageError{err}
		}
		return sidecar, err
	}
	path, named := ConfigPath(c)
	sidecar, err := client.FromConfig(c.Context(), path, token)
	if !named && errors.Is(err, fs.ErrNotExist) {
		return client.FromListen(config.DefaultListen, token)
	}
	return sidecar, err
}

// completeRoutes offers the names of the running sidecar's routes.
func completeRoutes(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var names []string
	if sidecar, err := connect(c); err == nil {
		routes, _ := knownRoutes(ctx, sidecar, "")
		for _, r := range routes {
			names = append(names, r.Name+"\t"+string(r.State))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// knownRoutes asks for the routes, with those that have gone and have deliveries left. It
// fails if name is none of them, unless it is "" or a glob.
func knownRoutes(ctx context.Context, sidecar *client.Client, name string) ([]api.RouteStatus, error) {
	var s api.Status
	if err := sidecar.Get(ctx, "/status", &s); err != nil {
		return nil, err
	}
	var names []string
	for _, r := range s.Routes {
		names = append(names, r.Name)
	}
	if name == "" || strings.ContainsAny(name, "*?") || slices.Contains(names, name) {
		return s.Routes, nil
	}
	return nil, noRoute(name, names)
}

// noRoute says that there is no route of this name, and which there are.
func noRoute(name string, names []string) error {
	if near := config.Nearest(name, names); near != "" {
		return fmt.Errorf("there is no route %q, did you mean %q?", name, near)
	}
	return fmt.Errorf("there is no route %q; the routes are %s", name, strings.Join(names, ", "))
}

// routeNames are the names of the routes of a config, in its order.
func routeNames(cfg *config.Config) (names []string) {
	for i := range cfg.Routes {
		names = append(names, cfg.Routes[i].Name)
	}
	return names
}

// asUsage makes a usage error of a request that the sidecar calls malformed: for
// commands whose flags make the whole request.
func asUsage(err error) error {
	if refused := (*api.Problem)(nil); errors.As(err, &refused) && refused.Status == http.StatusBadRequest {
		return usageError{err}
	}
	return err
}
