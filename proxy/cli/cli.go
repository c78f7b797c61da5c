// Package cli is the commands that people type, but run and version: those
// that look into a running sidecar through its API, and those that need none.
//
// A command prints its result to standard output and returns what went wrong:
// a *UsageError if it was used wrongly.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"signalpost/proxy/api"
	"signalpost/proxy/client"
)

// A UsageError says that a command was used wrongly.
type UsageError struct{ Err error }

// Error is the reason.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *UsageError) Unwrap() error { return e.Err }

func usage(format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...)}
}

// ExitCode is what the process exits with: 2.
func (e *UsageError) ExitCode() int { return 2 }

// asUsage makes a usage error of what the sidecar calls a malformed request,
// where all of the request comes from flags.
func asUsage(err error) error {
	var refused *api.Problem
	if errors.As(err, &refused) && refused.Status == http.StatusBadRequest {
		return &UsageError{err}
	}
	return err
}

// Commands are the commands of this package. version is that of the sidecar in
// demo and of the requests that try describes.
func Commands(version string) []*cobra.Command {
	commands := []*cobra.Command{
		demoCommand(version), initCommand(), checkCommand(), tryCommand(version), sendCommand(), logCommand(), statusCommand(),
		retryCommand(), discardCommand(), pauseCommand(), resumeCommand(), listenCommand(), verifyCommand(), healthCommand(),
	}
	for _, c := range commands {
		if c.Args == nil {
			c.Args = NoArgs // cobra's own default takes any
		}
		c.PreRunE = refuseEmpty
	}
	return commands
}

// NoArgs is for a command that takes no arguments: it says so, rather than that
// what is given is no command.
func NoArgs(c *cobra.Command, args []string) error {
	flags := "only flags"
	if c.Flags().Lookup("config") != nil {
		flags += " such as --config FILE"
	}
	return takes(0, 0, "no arguments, "+flags)(c, args)
}

// takes is for a command that takes so many arguments; what they are is said when
// there are fewer or more.
func takes(least, most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if least <= len(args) && len(args) <= most {
			return nil
		}
		given := "none"
		if len(args) > 0 {
			given = strings.Trim(fmt.Sprintf("%q", args), "[]")
		}
		return fmt.Errorf("%s takes %s; given: %s", c.Name(), what, given)
	}
}

// refuseEmpty refuses a flag that is given but empty: with a variable that is
// not set, discard --route "$ROUTE" must not discard all.
func refuseEmpty(c *cobra.Command, _ []string) (err error) {
	c.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.String() == "" && err == nil {
			err = usage("flag --%s is empty; leave it out or give it a value", f.Name)
		}
	})
	return err
}

// configPath is the config file a command is about: the flag --config, which may be
// empty, or SIGNALPOST_CONFIG, or signalpost.toml.
func configPath(flag string) string {
	if flag != "" {
		return flag
	}
	if env := os.Getenv("SIGNALPOST_CONFIG"); env != "" {
		return env
	}
	return "signalpost.toml"
}

// configFlag adds --config to a command that reads the file itself.
func configFlag(c *cobra.Command) *string {
	path := c.Flags().StringP("config", "c", "", "config `FILE` (default signalpost.toml, or SIGNALPOST_CONFIG)")
	c.MarkFlagFilename("config", "toml")
	return path
}

func jsonFlag(c *cobra.Command) *bool {
	return c.Flags().Bool("json", false, "print JSON")
}

// A remote is where a command finds the running sidecar.
type remote struct{ config, server string }

func remoteFlags(c *cobra.Command) *remote {
	r := &remote{}
	c.Flags().StringVarP(&r.config, "config", "c", "", "find the sidecar by its config `FILE` (default signalpost.toml, or SIGNALPOST_CONFIG)")
	c.Flags().StringVar(&r.server, "server", "", "find the sidecar at `URL`: http://HOST:PORT or unix:PATH; token from SIGNALPOST_TOKEN")
	c.MarkFlagFilename("config", "toml")
	return r
}

// client finds the sidecar. Where nothing says where it is, it is taken to be
// where it is by default.
func (r *remote) client() (*client.Client, error) {
	token := os.Getenv("SIGNALPOST_TOKEN")
	switch {
	case r.server != "" && r.config != "":
		return nil, usage("--server and --config both say where the sidecar is; give one of them")
	case r.server != "":
		c, err := client.New(r.server, token)
		if err != nil {
			return nil, &UsageError{err}
		}
		return c, nil
	}
	path := configPath(r.config)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && r.config == "" && os.Getenv("SIGNALPOST_CONFIG") == "" {
		return client.New("http://127.0.0.1:8787", token)
	}
	return client.FromConfig(path, token)
}

// completeRoutes offers the names of the running sidecar's routes.
func (r *remote) completeRoutes(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	none := cobra.ShellCompDirectiveNoFileComp
	if c.Flags().NFlag() == 0 && len(args) > 0 {
		return nil, none
	}
	api, err := r.client()
	if err != nil {
		return nil, none
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := api.Status(ctx)
	if err != nil {
		return nil, none
	}
	names := make([]string, len(s.Routes))
	for i, route := range s.Routes {
		names[i] = route.Name + "\t" + string(route.State)
	}
	return names, none
}

// oneOf completes a flag with a fixed set of values.
func oneOf(c *cobra.Command, flag string, values ...string) {
	c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// sample is the signal of the documentation.
const sample = `{
  "signal_type": "product_qualified_lead",
  "confidence": 0.92,
  "source": "posthog",
  "hypothesis_id": "hyp_8g2k",
  "account": { "name": "Acme Corp", "domain": "acme.com" },
  "events": ["visited_pricing_page", "invited_team_member", "api_key_created"],
  "enrichment": { "company_size": "50-200", "industry": "SaaS" },
  "detected_at": "2026-04-29T14:31:08Z"
}
`

// signalFile is what readSignal takes.
const signalFile = "at most one file, or - for standard input"

// readSignal reads the file a command names, - for standard input, or the
// sample if it names none.
func readSignal(c *cobra.Command, args []string) ([]byte, error) {
	switch {
	case len(args) == 0:
		return []byte(sample), nil
	case args[0] == "-":
		return io.ReadAll(c.InOrStdin())
	}
	b, err := os.ReadFile(args[0])
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w; name a file, - for standard input, or nothing for the sample signal", err)
	}
	return b, err
}

// reason is why something could not be done to a file, without the file's name.
func reason(err error) error {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		return inner.Err
	}
	return err
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// examples indents lines as cobra prints examples.
func examples(lines ...string) string { return "  " + strings.Join(lines, "\n  ") }

// A word is a flag's value as typed; help calls it by its kind.
type word struct{ text, kind string }

func (w *word) String() string     { return w.text }
func (w *word) Set(s string) error { w.text = s; return nil }
func (w *word) Type() string       { return w.kind }
