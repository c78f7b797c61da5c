package cli

import (
	"context"
	_ "embed" // the config
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"signalpost/proxy"
	"signalpost/proxy/client"
	"signalpost/proxy/config"
	"signalpost/proxy/receiver"
	"signalpost/proxy/term"
	"signalpost/queue"
)

// demoConfig is what the demo runs with: a chat channel, and a CRM that is down
// for the first request. ADDRESS stands for the receivers'.
//
//go:embed demo.toml
var demoConfig string

// demoSignals are what the demo sends.
var demoSignals = []struct{ title, body string }{
	{"product_qualified_lead    Acme Corp, 0.92", sample},
	{"expansion_ready           Globex, 0.71", `{"signal_type":"expansion_ready","confidence":0.71,"account":{"name":"Globex","domain":"globex.com"}}`},
	{"newsletter_opened         Initech, 0.12", `{"signal_type":"newsletter_opened","confidence":0.12,"account":{"name":"Initech","domain":"initech.com"}}`},
}

// demoTime bounds how long the demo waits for everything to arrive.
const demoTime = 30 * time.Second

func demoCommand(version string) *cobra.Command {
	c := &cobra.Command{
		Use:   "demo",
		Short: "Everything at once: a receiver, the sidecar and sample signals",
		Long: `Start a receiver and a sidecar in a scratch folder, send sample signals, and print
what arrived, with its signatures verified, and the delivery log. It needs
no config, nothing leaves this machine, and the folder is removed at the end.

With --fleet it runs three sidecars on three NATS servers, and kills one of each:
all that was accepted arrives. It needs nats-server in PATH.`,
		Example: "  signalpost demo\n  signalpost demo --once\n  signalpost demo --fleet --once",
	}
	once := c.Flags().Bool("once", false, "end when all has arrived; exit 1 if it does not within "+term.Span(demoTime)+", or "+term.Span(fleetTime)+" with --fleet")
	many := c.Flags().Bool("fleet", false, "show that a fleet loses nothing")
	c.RunE = func(c *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		page := newOutput(c).Page
		page.Width = term.Columns
		d := &demo{Page: page, once: *once}
		var err error
		if *many {
			err = (&fleetDemo{demo: d, got: map[string]bool{}}).run(ctx)
		} else {
			err = d.run(ctx, d.receivers, func(ctx context.Context) error { return d.show(ctx, version) })
		}
		if ctx.Err() != nil {
			return nil // interrupted
		}
		return err
	}
	return c
}

// A demo is one run of the command.
type demo struct {
	term.Page
	once bool

	folder  string          // for scratch
	address string          // of the receiver, HOST:PORT
	secret  string          // of its signatures
	parts   *errgroup.Group // what runs in this process
	running []*process      // what runs beside it

	mu       sync.Mutex // guards printing, and what follows
	requests int        // that arrived
	wrong    int        // of them, those with a signature that is wrong, or none
}

// run makes a scratch folder and a receiver, calls show, goes on until ctx ends unless
// once, and leaves nothing behind.
func (d *demo) run(ctx context.Context, receiver func() http.Handler, show func(ctx context.Context) error) (err error) {
	if d.folder, err = os.MkdirTemp("", "signalpost-demo-"); err != nil {
		return fmt.Errorf("demo cannot make its scratch folder in %s: %w; set TMPDIR to a folder that can be written", os.TempDir(), reason(err))
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.folder)) }()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.address, d.secret = l.Addr().String(), newSecret()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	d.parts, ctx = errgroup.WithContext(ctx)
	d.parts.Go(func() error { return serve(ctx, l, receiver(), func() {}) })
	d.parts.Go(func() error {
		defer stop()
		err := show(ctx)
		if err == nil && !d.once {
			<-ctx.Done()
		}
		for _, p := range d.running {
			p.kill()
		}
		return err
	})
	return d.parts.Wait()
}

// start runs a sidecar, and returns where it listens and its config file.
func (d *demo) start(ctx context.Context, version string) (api *client.Client, path string, err error) {
	path = filepath.Join(d.folder, "signalpost.toml")
	text := strings.NewReplacer("ADDRESS", d.address, "SECRET", d.secret).Replace(demoConfig)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	cfg, err := config.Load(ctx, path)
	if err != nil {
		return nil, "", err
	}
	sidecar, err := proxy.New(cfg, nil, version)
	if err != nil {
		return nil, "", err
	}
	listening := make(chan string, 1)
	d.parts.Go(func() error { return sidecar.Serve(ctx, func(addr string) { listening <- addr }) })
	select {
	case <-ctx.Done():
		return nil, "", ctx.Err()
	case addr := <-listening:
		api, err = client.FromListen(addr, "")
		return api, path, err
	}
}

// receivers are one for each route; the CRM's fails its first request.
func (d *demo) receivers() http.Handler {
	mux := http.NewServeMux()
	o, luck := receiver.Options{Secrets: []string{d.secret}, Seen: d.arrived}, 0.0
	mux.Handle("/slack", receiver.New(o))
	o.Fail, o.Rand = 0.5, func() float64 {
		defer func() { luck = 0.9 }()
		return luck
	}
	mux.Handle("/crm", receiver.New(o))
	return mux
}

// arrived prints a request that a receiver got, and counts it.
func (d *demo) arrived(r receiver.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests++
	if !r.Verified() {
		d.wrong++
	}
	signatures := ""
	for _, s := range r.Signatures {
		signatures += s.Preset + " " + string(d.Mark(s.Err == nil)) + " "
	}
	status, what := d.In(term.Green, r.Status), string(r.Body)
	if r.Status/100 != 2 {
		status, what = d.In(term.Yellow, r.Status), "down on purpose, will be sent again"
	}
	d.Printf("%s %s %s%s\n", term.Fit(strings.TrimPrefix(r.Path, "/"), 6), status, term.Text(signatures), term.Cut(what, term.Columns-33))
}

// show sends the signals to a sidecar, and prints what became of them.
func (d *demo) show(ctx context.Context, version string) error {
	api, path, err := d.start(ctx, version)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	d.Printf("Signalpost runs at %s with two routes, slack and crm.\n\n", api.Server())
	made, err := d.send(ctx, api)
	if err != nil {
		return err
	}
	var log []queue.Entry
	delivered, all := 0, errors.New("all has arrived")
	err = api.Follow(ctx, url.Values{"limit": {"1000"}}, func(e queue.Entry) error {
		log = append(log, e)
		if e.Verdict == queue.Delivered {
			delivered++
		}
		if delivered == made {
			return all
		}
		return nil
	})
	if err != all {
		return errors.Join(fmt.Errorf("%s did not arrive within %s", term.Count(made-delivered, "delivery"), term.Span(demoTime)), err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Printf("\n%s\n", d.In(term.Bold, "The delivery log:"))
	show := entryPrinter(d.Page, []string{"slack", "crm"}, time.Now)
	for _, e := range log {
		show(e)
	}
	if d.wrong > 0 {
		return fmt.Errorf("the signatures of %d of %s were not right", d.wrong, term.Count(d.requests, "request"))
	}
	d.Printf("\n%s %s in %s, every signature right.\n", d.Mark(true), term.Count(made, "delivery"), term.Count(d.requests, "request"))
	if !d.once {
		d.Printf(`  The dashboard is at %[2]s/

It goes on until Ctrl-C. Meanwhile, in another terminal:
  signalpost send --server %[1]s
  signalpost log -f --server %[1]s
  signalpost status --server %[1]s
  $EDITOR %[3]s
`, api.Server(), d.In(term.Bold, api.Server()), path)
	}
	return nil
}

// send sends the signals, and returns how many deliveries they make. What
// arrives meanwhile waits, to be printed behind.
func (d *demo) send(ctx context.Context, api *client.Client) (made int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Printf("%s\n", d.In(term.Bold, "Three signals are sent:"))
	for _, s := range demoSignals {
		accepted, _, err := api.Send(ctx, client.Signals{Body: []byte(s.body)})
		if err != nil {
			return 0, err
		}
		var to []string
		for _, delivery := range accepted[0].Deliveries {
			made++
			to = append(to, delivery.Route)
		}
		goes := "passes no route"
		if len(to) > 0 {
			goes = "→ " + strings.Join(to, ", ")
		}
		d.Printf("%s %s\n", term.Fit(s.title, 50), goes)
	}
	d.Printf("\n%s\n", d.In(term.Bold, "What the receivers got, with the signatures they verified:"))
	return made, nil
}
