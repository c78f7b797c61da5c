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
	"time"
	_ "time/tzdata" // the image has none

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"signalpost/proxy"
	"signalpost/proxy/cli"
	"signalpost/proxy/config"
	"signalpost/proxy/system"
	"signalpost/proxy/term"
)

// Set when a release is linked: -ldflags "-X main.version=1.2.3 -X main.commit=…".
// Without, they are what the Go command knows.
var version, commit string

func main() {
	complete()
	root := &cobra.Command{
		Use:   "signalpost",
		Short: "A durable webhook sidecar",
		Long: `Signalpost is a durable webhook sidecar. An app POSTs signals to it on
localhost; it delivers them to the routes of its config: filtered, shaped,
signed, and retried until they have arrived.`,
		Version: fmt.Sprintf("%s\ncommit %s\n%s %s/%s", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH),
	}
	cli.Add(root, runCommand(), version)
	os.Exit(cli.Execute(root))
}

func runCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the sidecar",
		Long: `Run the sidecar until SIGTERM or SIGINT.

Then it takes no new signals, and gives the attempts under way 10 s to finish.
Those that do not finish stay queued, and do not count. It exits 0. A second
SIGTERM or SIGINT ends it at once; what was under way is sent again after the
next start. SIGHUP makes it read its config again. It also does so by itself when
the config, or a file that the config names, changes.`,
		Example: "  signalpost run\n  signalpost run --config /etc/signalpost/signalpost.toml",
		RunE: func(c *cobra.Command, _ []string) error {
			err := run(c)
			if err != nil { // printing it may hang: exit all the same
				time.AfterFunc(time.Second, func() { os.Exit(1) })
			}
			return err
		},
	}
	cli.ConfigFlag(c)
	return c
}

// run runs the sidecar, from reading its config to its last attempt.
func run(c *cobra.Command) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	// The reader of the log may stall or go away: that neither ends the sidecar nor delays its end.
	signal.Ignore(syscall.SIGPIPE)
	tune()
	system.Umask(0o077) // nobody else may read the store, even in a folder that others can open
	// net/http writes what receivers send unasked to the standard logger, with secrets in it.
	stdlog.SetOutput(io.Discard)

	path, _ := cli.ConfigPath(c)
	cfg, err := config.Load(c.Context(), path)
	if err != nil {
		return err
	}
	log := proxy.NewLogger(os.Stderr, term.IsTerminal(os.Stderr), cfg.Log)
	if zone := cli.ZoneWarning(); zone != "" {
		log.Warn(zone)
	}
	p, err := proxy.New(cfg, log, version)
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var reloads sync.WaitGroup // end with ctx, even if a file cannot be read
	defer reloads.Wait()
	reload := func() {
		notify(log, daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec())
		if err := p.Reload(ctx); err != nil && ctx.Err() == nil {
			log.Error("config not reloaded, the running one stays", "err", err)
		}
		if ctx.Err() == nil {
			notify(log, daemon.SdNotifyReady)
		}
	}
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
				reloads.Go(reload)
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

// notify sends states of the sidecar to the service manager, if there is one that
// asks for them: systemd does for a unit with Type=notify.
func notify(log *slog.Logger, states ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(states, "\n")); err != nil {
		log.Warn("the service manager was not told "+states[0], "err", err)
	}
}

// tune sets how Go uses memory, unless the environment does. Collecting garbage less
// often gains a tenth of the throughput for some megabytes; near the limit it is
// collected more often.
func tune() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(384 << 20)
	}
}

// complete sets version and commit, if the linker did not, from what the Go command
// recorded; its version says whether files were changed since the commit.
func complete() {
	if info, ok := debug.ReadBuildInfo(); ok {
		version = cmp.Or(version, strings.TrimSuffix(strings.TrimPrefix(info.Main.Version, "v"), "(devel)"))
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = cmp.Or(commit, s.Value)
			}
		}
	}
	version, commit = cmp.Or(version, "dev"), cmp.Or(commit, "unknown")
}
