package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"signalpost/proxy/receiver"
	"signalpost/proxy/term"
)

// secretFlag adds --secret to a command that checks signatures.
func secretFlag(c *cobra.Command) (secrets func() []string) {
	given := c.Flags().StringArray("secret", nil, "`SECRET` to verify signatures with, or public key (whpk_…) for those by ed25519; several while one is rotated (default SIGNALPOST_SECRET)")
	return func() []string {
		if env := os.Getenv("SIGNALPOST_SECRET"); len(*given) == 0 && env != "" {
			return []string{env}
		}
		return *given
	}
}

func listenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "listen",
		Short: "A receiver for development: prints, verifies, misbehaves if told",
		Long: `Receive deliveries: print each request, verify its signatures, and answer as told,
so that retries, time-outs and a failing route can be watched. It accepts every
path and method, and runs until it is interrupted.

Signatures are verified with --secret, or with the secrets of all routes of the
config file.`,
		Example: `  signalpost listen                             # the secrets of signalpost.toml
  signalpost listen --secret whsec_… --addr 127.0.0.1:9001
  signalpost listen --status 503                # always down
  signalpost listen --fail 0.3 --latency 2s     # slow, and down now and then`,
	}
	ConfigFlag(c)
	secrets := secretFlag(c)
	var o receiver.Options
	f := c.Flags()
	addr := f.String("addr", "127.0.0.1:9000", "`HOST:PORT` to listen on; port 0 takes a free one")
	f.IntVar(&o.Status, "status", 200, "`CODE` of the answers")
	f.Float64Var(&o.Fail, "fail", 0, "`SHARE` of the requests, 0 to 1, that fail")
	f.IntVar(&o.FailStatus, "fail-status", 503, "`CODE` of the answers that fail")
	durationFlag(c, &o.RetryAfter, "retry-after", "Retry-After of answers that fail, a `DURATION`")
	durationFlag(c, &o.Latency, "latency", "wait so long before each answer, a `DURATION`")
	f.BoolVar(&o.Hang, "hang", false, "never answer")
	c.RunE = func(c *cobra.Command, _ []string) error {
		out := newOutput(c)
		o.Secrets = secrets()
		about := ""
		if len(o.Secrets) == 0 {
			var err error
			if o.Secrets, about, err = configSecrets(c); err != nil {
				return err
			}
		}
		var printing error
		o.Seen = func(r receiver.Request) {
			if err := receiver.Print(out.Page, r); err != nil {
				printing = err
			}
		}
		if err := o.Check(); err != nil {
			return usageError{err}
		}
		ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		l, err := net.Listen("tcp", *addr)
		if err != nil {
			return fmt.Errorf("listen on %s: %w; choose another with --addr", *addr, reason(err))
		}
		out.Printf("listening on http://%[1]s; url = \"http://%[1]s/\" in a route sends here\n", l.Addr())
		if about != "" {
			out.Printf("%s\n", term.Wrap(about, 0))
		}
		out.Printf("\n")
		rc := receiver.New(o)
		return errors.Join(serve(ctx, l, rc, rc.Close), printing)
	}
	return c
}

// configSecrets are the secrets of the routes of a config file, and a sentence
// about them. A file that nobody named need not be there, nor be right.
func configSecrets(c *cobra.Command) (secrets []string, about string, err error) {
	path, named := ConfigPath(c)
	cfg, err := loadConfig(c)
	switch _, missing := os.Stat(path); {
	case err != nil && named:
		return nil, "", fmt.Errorf("%w\nlisten verifies with its secrets; fix it, or name a secret with --secret", err)
	case missing != nil:
		return nil, "", nil
	case err != nil:
		return nil, path + " has a fault (signalpost check says which), so no signature is verified", nil
	}
	for i := range cfg.Routes {
		for _, s := range append(cfg.Routes[i].Secrets, cfg.Routes[i].SigningKey) {
			if !s.IsZero() && !slices.Contains(secrets, s.Reveal()) {
				secrets = append(secrets, s.Reveal())
			}
		}
	}
	if len(secrets) > 0 {
		about = fmt.Sprintf("verifying with %s of %s", term.Count(len(secrets), "secret"), path)
	}
	return secrets, about, nil
}

// serve answers the requests on l with h until ctx ends. Then it calls release, which
// ends those under way.
func serve(ctx context.Context, l net.Listener, h http.Handler, release func()) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		defer close(stopped)
		release()
		stopping, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if server.Shutdown(stopping) != nil {
			server.Close()
		}
	})()
	if err := server.Serve(l); err != http.ErrServerClosed {
		return err
	}
	<-stopped
	return nil
}
