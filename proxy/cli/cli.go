// Package cli is the commands that people type, except run: those that ask a
// running sidecar through its API, and those that need none.
//
// A command prints its result to standard output and returns what went wrong:
// a usageError if it was used wrongly. Execute makes exit codes of that.
package cli

import (
	"cmp"
	_ "embed" // the sample
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"signalpost/proxy/config"
	"signalpost/proxy/term"
	"signalpost/proxy/units"
)

// A usageError says that a command was used wrongly.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func init() { cobra.EnableCommandSorting = false } // help lists them in the order of Add

// Add adds run and the commands of this package to root, which has a Version.
// version is that of the sidecar in demo and of the requests that try describes.
func Add(root, run *cobra.Command, version string) {
	for _, group := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"Begin:", []*cobra.Command{demoCommand(version), initCommand(), checkCommand(), tryCommand(version), testCommand(version), planCommand(version)}},
		{"Run, and look after what runs:", []*cobra.Command{
			run, sendCommand(), logCommand(), explainCommand(), statusCommand(), statsCommand(), retryCommand(), discardCommand(), pauseCommand(), resumeCommand(), fleetCommand(), healthCommand(),
		}},
		{"Receive:", []*cobra.Command{listenCommand(), verifyCommand(), auditCommand(version), keygenCommand()}},
	} {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title})
		for _, c := range group.commands {
			c.GroupID = group.title
			root.AddCommand(c)
		}
	}
	root.AddCommand(&cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Run: func(c *cobra.Command, _ []string) {
			newOutput(c).Printf("%s %s\n", root.Name(), term.Text(root.Version))
		},
	})
	root.SetHelpCommand(helpCommand(root))
	for _, c := range root.Commands() {
		paragraphs := strings.Split(c.Long, "\n\n")
		for i, p := range paragraphs {
			paragraphs[i] = string(term.Wrap(strings.ReplaceAll(p, "\n", " "), 0))
		}
		c.Long = strings.Join(paragraphs, "\n\n")
		if c.Args != nil {
			continue // cobra's own default takes any
		}
		flags := "no arguments, only flags"
		if c.Flags().Lookup("config") != nil {
			flags += " such as --config FILE"
		}
		c.Args = takes(0, 0, flags)
	}
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion"}); err == nil { // cobra prints help for a shell that it does not know
		c.Short, c.Example = "Print a script by which a shell completes commands and routes", "  source <(signalpost completion bash)"
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(*cobra.Command, []string) error {
			return usage("completion takes the name of a shell: bash, zsh, fish or powershell")
		}
	}
}

// Execute runs the command that root's arguments name, writes what went wrong to
// standard error, and returns the exit code: 0 fine, 1 failed, 2 used wrongly.
func Execute(root *cobra.Command) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetVersionTemplate("{{.DisplayName}} {{.Version}}\n")
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	began := false // errors before that are cobra's: wrong usage
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		began = true
		return refuseEmpty(c)
	}
	root.SetFlagErrorFunc(nearestFlag)
	c, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	lines := strings.Split("signalpost: "+strings.TrimSpace(strings.ReplaceAll(err.Error(), "\t", "  ")), "\n")
	page := term.NewPage(root.ErrOrStderr())
	for i, line := range lines {
		if lines[i] = term.Escape(line); page.Width > 0 {
			lines[i] = term.Fold(lines[i], 2)
		}
	}
	fmt.Fprintln(root.ErrOrStderr(), strings.Join(lines, "\n"))
	if !began {
		fmt.Fprintf(root.ErrOrStderr(), "Run '%s --help' for usage.\n", c.CommandPath())
	}
	if used := (usageError{}); !began || errors.As(err, &used) {
		return 2
	}
	return 1
}

// nearestFlag says which flag an unknown one was probably meant to be.
func nearestFlag(c *cobra.Command, err error) error {
	unknown := (*pflag.NotExistError)(nil)
	if !errors.As(err, &unknown) {
		return err
	}
	if word := unknown.GetSpecifiedShortnames(); strings.Contains(word, ":") {
		return fmt.Errorf("%w; put -- before a word that begins with -, as in: %s -- -%s", err, c.CommandPath(), word)
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := config.Nearest(unknown.GetSpecifiedName(), names); near != "" {
		return fmt.Errorf("%w, did you mean --%s?", err, near)
	}
	return err
}

// refuseEmpty refuses a flag that is given but empty: with a variable that is
// not set, discard --route "$ROUTE" must not discard all.
func refuseEmpty(c *cobra.Command) (err error) {
	c.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && f.Value.String() == "" {
			err = usage("flag --%s is empty; leave it out or give it a value", f.Name)
		}
	})
	return err
}

// takes checks the number of arguments; what says what they are, for the error.
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

// An output is where a command's result goes, for people or as JSON.
type output struct {
	term.Page
	json bool
}

// newOutput is the standard output of c, which may have the flag --json.
func newOutput(c *cobra.Command) output {
	asJSON, _ := c.Flags().GetBool("json") // a command without the flag prints none
	return output{term.NewPage(c.OutOrStdout()), asJSON}
}

// show prints v as JSON, or has people print what they can read.
func (out output) show(v any, people func()) error {
	if out.json {
		return out.JSON(v, "  ")
	}
	people()
	return nil
}

// shadeOf is the colour of a state, level or verdict: yellow unless it is good, bad or moot.
func shadeOf[T ~string](word T) term.Shade {
	switch word {
	case "ok", "delivered", "passed", "own":
		return term.Green
	case "bad", "failed", "dead", "failing", "refused", "nobody":
		return term.Red
	case "gone", "does not apply":
		return term.Dim
	}
	return term.Yellow
}

func jsonFlag(c *cobra.Command) { c.Flags().Bool("json", false, "print JSON") }

// ConfigFlag adds --config to a command that reads the file itself.
func ConfigFlag(c *cobra.Command) {
	c.Flags().StringP("config", "c", "", "config `FILE` (default signalpost.toml, or SIGNALPOST_CONFIG)")
	c.MarkFlagFilename("config", "toml")
}

// ConfigPath is the config file a command is about, and whether somebody named it:
// --config, or SIGNALPOST_CONFIG, or signalpost.toml.
func ConfigPath(c *cobra.Command) (path string, named bool) {
	path, _ = c.Flags().GetString("config")
	path = cmp.Or(path, os.Getenv("SIGNALPOST_CONFIG"))
	return cmp.Or(path, "signalpost.toml"), path != ""
}

// loadConfig reads the config file a command is about, once; - is standard input.
func loadConfig(c *cobra.Command) (*config.Config, error) {
	path, _ := ConfigPath(c)
	return config.LoadOnce(c.Context(), path)
}

// rehearsedConfig reads a config for a command that sends nothing, and prints which secrets
// it lacks to standard error.
func rehearsedConfig(c *cobra.Command, path string) (*config.Config, error) {
	cfg, err := config.LoadRehearsal(c.Context(), path)
	if err == nil && len(cfg.Missing) > 0 {
		term.NewPage(c.ErrOrStderr()).Printf("%s\n", term.Wrap("missing, and placeholders stand in: "+strings.Join(cfg.Missing, ", "), 0))
	}
	return cfg, err
}

// oneOf completes a flag with a fixed set of values.
func oneOf(c *cobra.Command, flag string, values ...string) {
	c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// sample is the signal of the documentation.
//
//go:embed sample.json
var sample string

// takesSignal makes c take what readSignal reads.
func takesSignal(c *cobra.Command) {
	c.Args = takes(0, 1, "at most one file, or - for standard input")
	c.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveDefault) // files
}

// readSignal reads the file a command names, or the sample if it names none.
func readSignal(c *cobra.Command, args []string) ([]byte, error) {
	if len(args) == 0 {
		return []byte(sample), nil
	}
	b, err := readFile(c, args[0])
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w; name a file, - for standard input, or nothing for the sample signal", err)
	}
	return b, err
}

// readFile reads a file, - for standard input.
func readFile(c *cobra.Command, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(c.InOrStdin())
	}
	return os.ReadFile(name)
}

// reason is why something could not be done to a file or address, without its name.
func reason(err error) error {
	if inner := (*os.PathError)(nil); errors.As(err, &inner) {
		return inner.Err
	}
	if inner := (*net.OpError)(nil); errors.As(err, &inner) {
		return inner.Err
	}
	return err
}

// durationFlag adds a flag for a duration in the form of the config.
func durationFlag(c *cobra.Command, d *time.Duration, name, usage string) {
	c.Flags().Func(name, usage, func(text string) error {
		var ok bool
		if *d, ok = units.ParseDuration(text); !ok {
			return errors.New("expected " + units.DurationForm)
		}
		return nil
	})
}

// ZoneWarning says that TZ names no time zone, which Go takes for UTC; "" if all is well.
func ZoneWarning() string {
	name := strings.TrimPrefix(os.Getenv("TZ"), ":")
	_, unknown := time.LoadLocation(name)
	if _, missing := os.Stat(name); unknown == nil || missing == nil && filepath.IsAbs(name) {
		return ""
	}
	return fmt.Sprintf("TZ=%s names no time zone, so UTC is used: expected a name such as Europe/Berlin", name)
}
