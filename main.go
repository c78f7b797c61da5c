// Command signalpost is a durable webhook sidecar: an app POSTs signals to it
// on localhost, and it delivers them, shaped, signed and retried, to the routes
// of its config.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"signalpost/proxy"
	"signalpost/proxy/cli"
	"signalpost/proxy/config"
)

// Set when a release is linked: -ldflags "-X main.version=1.2.3 -X main.commit=…".
// Without, they are what the Go command knows.
var version, commit string

func main() { os.Exit(execute(os.Args[1:])) }

// The exit codes.
const (
	exitFine   = 0
	exitFailed = 1
	exitUsage  = 2
)

// execute runs the command that args name, and returns the exit code.
func execute(args []string) int {
	version, commit = build(version, commit)
	root := &cobra.Command{
		Use:           "signalpost",
		Short:         "A durable webhook sidecar",
		Long:          "Signalpost is a durable webhook sidecar. An app POSTs signals to it on localhost; it\ndelivers them to the routes of its config: filtered, shaped, signed, and retried until\nthey have arrived.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.AddCommand(runCommand(), versionCommand())
	root.AddCommand(cli.Commands(version)...)
	group(root)
	began := false
	for _, c := range root.Commands() {
		noteBegin(c, &began)
	}
	root.SetArgs(args)
	c, err := root.ExecuteC()
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &coded):
		if text := err.Error(); text != "" {
			fmt.Fprintf(os.Stderr, "signalpost: %s\n", text)
		}
		return coded.ExitCode()
	case began:
		fmt.Fprintf(os.Stderr, "signalpost: %s\n", err)
		return exitFailed
	}
	// What cobra refuses before a command begins is wrong usage.
	fmt.Fprintf(os.Stderr, "signalpost: %s\nRun '%s --help' for usage.\n", strings.TrimSpace(err.Error()), c.CommandPath())
	return exitUsage
}

// group has help list the commands in the order in which they are met.
func group(root *cobra.Command) {
	cobra.EnableCommandSorting = false
	commands := map[string]*cobra.Command{}
	for _, c := range root.Commands() {
		commands[c.Name()] = c
	}
	root.ResetCommands()
	for _, g := range []struct {
		title string
		names []string
	}{
		{"Begin:", []string{"demo", "init", "check", "try"}},
		{"Run, and look after what runs:", []string{"run", "send", "log", "status", "retry", "discard", "pause", "resume", "health"}},
		{"Receive:", []string{"listen", "verify"}},
	} {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, name := range g.names {
			commands[name].GroupID = g.title
			root.AddCommand(commands[name])
			delete(commands, name)
		}
	}
	for _, c := range commands { // in no group
		root.AddCommand(c)
	}
}

// noteBegin has began set when c or a command under it begins its work.
func noteBegin(c *cobra.Command, began *bool) {
	if work := c.RunE; work != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			*began = true
			return work(c, args)
		}
	}
	for _, sub := range c.Commands() {
		noteBegin(sub, began)
	}
}

func runCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the sidecar",
		Long: `Run the sidecar until SIGTERM or SIGINT.

On the signal it takes no new signals, finishes the attempts under way or, after 10 s,
gives them back, and exits 0. A second signal ends it at once; what was under way is
sent again after the next start. SIGHUP has it read its config again, which it also
does by itself when a file changes that the config is made of.`,
		Example: "  signalpost run\n  signalpost run --config /etc/signalpost/signalpost.toml",
		Args:    cli.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return run(path) },
	}
	c.Flags().StringVarP(&path, "config", "c", cmp.Or(os.Getenv("SIGNALPOST_CONFIG"), "signalpost.toml"),
		"config `FILE`; SIGNALPOST_CONFIG changes the default")
	c.MarkFlagFilename("config", "toml")
	return c
}

// run is the sidecar's life: from its config to its last attempt.
func run(path string) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	tune()
	syscall.Umask(0o077) // what is stored is for nobody else, also where the folder is somebody else's
	// net/http tells the standard logger what receivers send unasked, unmasked.
	stdlog.SetOutput(io.Discard)

	cfg, err := config.Load(context.Background(), path)
	if err != nil {
		return err
	}
	log := proxy.NewLogger(os.Stderr, terminal(os.Stderr), cfg.Log)
	p, err := proxy.New(cfg, log, version)
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var reloads sync.WaitGroup // which end with ctx, even if a file cannot be read
	defer reloads.Wait()
	ended := make(chan error, 1)
	listening := make(chan string, 1)
	go func() { ended <- p.Serve(ctx, func(addr string) { listening <- addr }) }()
	for {
		select {
		case err := <-ended:
			return err
		case addr := <-listening:
			notify(log, daemon.SdNotifyReady, "STATUS=Listening on "+addr)
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP && ctx.Err() == nil:
				reloads.Go(func() {
					notify(log, daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec())
					if err := p.Reload(ctx); err != nil && ctx.Err() == nil {
						log.Error("config not reloaded, the running one stays", "err", err)
					}
					if ctx.Err() == nil {
						notify(log, daemon.SdNotifyReady)
					}
				})
			case s == syscall.SIGHUP:
			case ctx.Err() == nil:
				notify(log, daemon.SdNotifyStopping, "STATUS=Finishing the attempts under way")
				stop()
			default:
				return errors.New("second signal: stopped at once; what was under way is sent again after the next start")
			}
		}
	}
}

// notify tells the service manager how the sidecar fares, where it asks to be
// told: systemd does of a unit with Type=notify.
func notify(log *slog.Logger, states ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(states, "\n")); err != nil {
		log.Warn("the service manager was not told "+states[0], "err", err)
	}
}

// tune sets how Go uses memory, unless the environment does: collecting less
// often is worth a tenth of the throughput for some megabytes, and below the limit it is
// cheap to keep them.
func tune() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(384 << 20)
	}
}

// terminal reports whether f is one.
func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Args:  cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "signalpost %s\ncommit %s\n%s %s/%s\n", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// build returns the version and commit of this binary: as linked, or else as
// the Go command knows them.
func build(version, commit string) (string, string) {
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "(devel)" {
			version = cmp.Or(version, strings.TrimPrefix(v, "v"))
		}
		var revision, changed string
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				revision = s.Value
			case "vcs.modified":
				if s.Value == "true" {
					changed = " (changed)"
				}
			}
		}
		if revision != "" {
			commit = cmp.Or(commit, revision+changed)
		}
	}
	return cmp.Or(version, "dev"), cmp.Or(commit, "unknown")
}
