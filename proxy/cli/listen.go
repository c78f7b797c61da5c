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

	"signalpost/proxy/config"
	"signalpost/proxy/receiver"
)

// secretFlag adds --secret, for who checks signatures.
func secretFlag(c *cobra.Command) func() []string {
	secrets := c.Flags().StringArray("secret", nil, "`SECRET` to verify signatures with; several while one is rotated (default SIGNALPOST_SECRET)")
	return func() []string {
		if env := os.Getenv("SIGNALPOST_SECRET"); len(*secrets) == 0 && env != "" {
			return []string{env}
		}
		return *secrets
	}
}

func listenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "listen",
		Short: "A receiver for development: prints, verifies, misbehaves on request",
		Long: `Receive deliveries: print each request, verify its signatures, and answer as told,
so that retries, time-outs and a failing route can be watched. Every path and
method is taken. It runs until it is interrupted.

Signatures are verified with --secret, or with the secrets of all routes of the
config file.`,
		Example: examples(
			"signalpost listen                              # the secrets of signalpost.toml",
			"signalpost listen --secret whsec_… --addr 127.0.0.1:9001",
			"signalpost listen --status 503                 # always down",
			"signalpost listen --fail 0.3 --latency 2s      # slow, and down now and then"),
	}
	addr := c.Flags().String("addr", "127.0.0.1:9000", "`HOST:PORT` to listen on; port 0 takes a free one")
	path := configFlag(c)
	secrets := secretFlag(c)
	var o receiver.Options
	c.Flags().IntVar(&o.Status, "status", 200, "`CODE` of the answers")
	c.Flags().Float64Var(&o.Fail, "fail", 0, "`SHARE` of the requests, 0 to 1, that fail")
	c.Flags().IntVar(&o.FailStatus, "fail-status", 503, "`CODE` of the answers that fail")
	c.Flags().DurationVar(&o.RetryAfter, "retry-after", 0, "Retry-After of answers that fail, a `DURATION`")
	c.Flags().DurationVar(&o.Latency, "latency", 0, "wait so long before each answer, a `DURATION`")
	c.Flags().BoolVar(&o.Hang, "hang", false, "never answer")
	c.RunE = func(c *cobra.Command, _ []string) error {
		out := newPage(c.OutOrStdout())
		o.Secrets = secrets()
		about := ""
		if len(o.Secrets) == 0 {
			var err error
			if o.Secrets, about, err = configSecrets(c.Context(), *path); err != nil {
				return err
			}
		}
		var printing error
		o.Seen = func(r receiver.Request) {
			if err := receiver.Print(out, r, out.colour); err != nil {
				printing = err
			}
		}
		if err := o.Check(); err != nil {
			return &UsageError{err}
		}
		ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		err := serveReceiver(ctx, *addr, receiver.New(o), func(addr string) {
			out.printf("listening on http://%s; url = \"http://%s/\" in a route sends here\n", addr, addr)
			if about != "" {
				out.printf("%s\n", wrap(about, 0))
			}
			out.printf("\n")
		})
		return errors.Join(err, printing)
	}
	return c
}

// configSecrets are the secrets of the routes of a config file, and a sentence
// about them. A file that nobody named need not be there, nor be right.
func configSecrets(ctx context.Context, flag string) (secrets []string, about string, err error) {
	path := configPath(flag)
	cfg, err := config.Load(ctx, path)
	if err != nil {
		if flag != "" || os.Getenv("SIGNALPOST_CONFIG") != "" {
			return nil, "", fmt.Errorf("%w\nlisten verifies with its secrets; mend it, or name a secret with --secret", err)
		}
		if _, err := os.Stat(path); err == nil {
			about = path + " has a fault (signalpost check says which), so no signature is verified"
		}
		return nil, about, nil
	}
	for i := range cfg.Routes {
		for _, s := range cfg.Routes[i].Secrets {
			if !slices.Contains(secrets, s.Reveal()) {
				secrets = append(secrets, s.Reveal())
			}
		}
	}
	if len(secrets) > 0 {
		about = fmt.Sprintf("verifying with %s of %s", count(len(secrets), "secret"), receiver.Escape(path))
	}
	return secrets, about, nil
}

// serveReceiver serves a receiver until ctx ends. ready is called with the
// address once it listens.
func serveReceiver(ctx context.Context, addr string, r *receiver.Receiver, ready func(addr string)) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w; choose another with --addr", addr, err)
	}
	server := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	ready(l.Addr().String())
	select {
	case <-ctx.Done():
	case err := <-ended:
		return err
	}
	r.Close()
	stopping, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if server.Shutdown(stopping) != nil {
		server.Close()
	}
	<-ended
	return nil
}
