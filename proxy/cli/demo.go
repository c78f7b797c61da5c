package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"signalpost/proxy"
	"signalpost/proxy/client"
	"signalpost/proxy/config"
	"signalpost/proxy/receiver"
	"signalpost/queue"
)

// demoConfig is what the demo runs with: a chat channel, and a CRM that is down
// for the first request.
const demoConfig = `# Made by signalpost demo. Edit it while the demo runs: it is picked up at once.

[server]
listen = "127.0.0.1:0"

[defaults]
secret = { file = "secret" }

[[route]]
name         = "slack"
url          = "http://%[1]s/slack"
signal_types = ["product_qualified_lead"]
where        = ".confidence >= 0.8"
transform    = '''
{ text: "\(.account.name) is ready to buy (\(.confidence * 100 | round) %%)" }
'''

[[route]]
name         = "crm"
url          = "http://%[1]s/crm"
signal_types = ["product_qualified_lead", "expansion_*"]
transform    = '{ company: .account.name, score: (.confidence * 100 | round) }'
retry        = { attempts = 5, first = "500ms", window = "10s" }
`

// demoSignals are what the demo sends, and how many deliveries each makes.
var demoSignals = []struct {
	body string
	made int
}{
	{sample, 2},
	{`{"signal_type":"expansion_ready","confidence":0.71,"account":{"name":"Globex","domain":"globex.com"}}`, 1},
	{`{"signal_type":"newsletter_opened","confidence":0.12,"account":{"name":"Initech","domain":"initech.com"}}`, 0},
}

// demoTime bounds how long demo --once waits for everything to arrive.
const demoTime = 30 * time.Second

func demoCommand(version string) *cobra.Command {
	c := &cobra.Command{
		Use:   "demo",
		Short: "Everything at once: a receiver, the sidecar and sample signals, on loopback",
		Long: `Start a receiver and a sidecar in a scratch folder, send sample signals, and print
what arrived, with its signatures verified, and the delivery log. Nothing is
needed, nothing leaves this machine, and the folder is removed in the end.`,
		Example: examples("signalpost demo", "signalpost demo --once"),
	}
	once := c.Flags().Bool("once", false, "end when all has arrived; exit 1 if it does not within "+span(demoTime))
	c.RunE = func(c *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		d := &demo{out: newPage(c.OutOrStdout()), once: *once}
		return d.run(ctx, version)
	}
	return c
}

// A demo is one run of the command.
type demo struct {
	out  page
	once bool

	mu       sync.Mutex         // guards all below, and printing
	early    []receiver.Request // that arrived while the signals were still being printed
	printing bool               // what arrives is printed at once
	requests int                // that arrived
	verified int                // of them, those whose signatures all are right
}

// run makes the parts, runs them until ctx ends or, with once, everything has
// arrived, and leaves nothing behind.
func (d *demo) run(ctx context.Context, version string) (err error) {
	folder, err := os.MkdirTemp("", "signalpost-demo-")
	if err != nil {
		return fmt.Errorf("demo cannot make its scratch folder in %s: %w; set TMPDIR to a folder that can be written", receiver.Escape(os.TempDir()), reason(err))
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()

	secret := newSecret()
	addr, stopReceivers, err := d.receive(secret)
	if err != nil {
		return err
	}
	defer stopReceivers()

	path := filepath.Join(folder, "signalpost.toml")
	if err := errors.Join(
		os.WriteFile(filepath.Join(folder, "secret"), []byte(secret+"\n"), 0o600),
		os.WriteFile(path, fmt.Appendf(nil, demoConfig, addr), 0o600),
	); err != nil {
		return err
	}
	cfg, err := config.Load(ctx, path)
	if err != nil {
		return err
	}
	logFile, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		return err
	}
	defer logFile.Close()
	sidecar, err := proxy.New(cfg, proxy.NewLogger(logFile, false, cfg.Log), version)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	listening := make(chan string, 1)
	served := make(chan error, 1)
	go func() { served <- sidecar.Serve(serving, func(addr string) { listening <- addr }) }()
	select {
	case err := <-served:
		return err
	case addr := <-listening:
		err = d.show(ctx, addr, path)
		if err == nil && !d.once {
			<-ctx.Done()
		}
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // interrupted
	}
	stop()
	return errors.Join(err, <-served)
}

// newSecret is a secret in the form of Standard Webhooks.
func newSecret() string {
	var b [32]byte
	rand.Read(b[:])
	return "whsec_" + base64.StdEncoding.EncodeToString(b[:])
}

// newToken is a token that no header, shell or form has to quote.
func newToken() string { return strings.ToLower(rand.Text()) }

// receive starts a server with a receiver for each route; the CRM's fails its
// first request. stop returns when it has ended.
func (d *demo) receive(secret string) (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	down := true
	mux := http.NewServeMux()
	mux.Handle("/slack", receiver.New(receiver.Options{Secrets: []string{secret}, Seen: d.arrived}))
	mux.Handle("/crm", receiver.New(receiver.Options{Secrets: []string{secret}, Seen: d.arrived, Fail: 0.5, Rand: func() float64 {
		if down {
			down = false
			return 0 // fails
		}
		return 1
	}}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.Serve(l)
	}()
	return l.Addr().String(), func() { server.Close(); <-ended }, nil
}

// arrived takes a request that a receiver got.
func (d *demo) arrived(r receiver.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.printing {
		d.request(r)
	} else {
		d.early = append(d.early, r)
	}
}

// request prints a request, and counts it. d.mu is held.
func (d *demo) request(r receiver.Request) {
	d.requests++
	signatures, good := "", len(r.Signatures) > 0
	for _, s := range r.Signatures {
		mark := d.out.in(green, "✓")
		if s.Err != nil {
			mark, good = d.out.in(red, "✗"), false
		}
		signatures += " " + s.Preset + " " + mark
	}
	if good {
		d.verified++
	}
	status, what := d.out.in(green, fmt.Sprint(r.Status)), string(r.Body)
	if r.Status/100 != 2 {
		status, what = d.out.in(yellow, fmt.Sprint(r.Status)), "down on purpose, will be sent again"
	}
	d.out.printf("%s %s %s %s\n", fit(strings.TrimPrefix(r.Path, "/"), 6), status, strings.TrimSpace(signatures), receiver.Escape(cut(what, columns-33)))
}

// show sends the signals, and prints what became of them.
func (d *demo) show(ctx context.Context, addr, path string) error {
	api, err := client.FromListen(addr, "")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	d.out.printf("Signalpost runs at %s with two routes, slack and crm.\nConfig: %s\n\n", api.Server(), path)
	d.out.printf("%s\n", d.out.in(bold, "Three signals are sent:"))

	owed := map[string]bool{}
	for _, s := range demoSignals {
		accepted, _, err := api.Send(ctx, []byte(s.body), false, "")
		if err != nil {
			return err
		}
		var to []string
		for _, made := range accepted[0].Deliveries {
			owed[made.ID] = true
			to = append(to, made.Route)
		}
		if len(to) != s.made {
			return fmt.Errorf("a signal made %s; %d were expected", count(len(to), "delivery"), s.made)
		}
		goes := "passes no route"
		if len(to) > 0 {
			goes = "→ " + strings.Join(to, ", ")
		}
		d.out.printf("%s %s\n", fit(describe(s.body), 50), goes)
	}
	made := len(owed)
	d.out.printf("\n%s\n", d.out.in(bold, "What the receivers got, with the signatures they verified:"))
	d.mu.Lock()
	for _, r := range d.early {
		d.request(r)
	}
	d.early, d.printing = nil, true
	d.mu.Unlock()
	var log []queue.Entry
	enough := errors.New("all has arrived")
	err = api.Follow(ctx, url.Values{"limit": {"1000"}}, func(e queue.Entry) error {
		log = append(log, e)
		if e.Verdict == queue.Delivered {
			delete(owed, e.Delivery.String())
		}
		if len(owed) == 0 {
			return enough
		}
		return nil
	})
	if err != enough {
		if ctx.Err() == context.Canceled {
			return nil // interrupted
		}
		return errors.Join(fmt.Errorf("%s did not arrive within %s", count(len(owed), "delivery"), span(demoTime)), err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out.printf("\n%s\n", d.out.in(bold, "The delivery log:"))
	for _, e := range slices.SortedStableFunc(slices.Values(log), func(a, b queue.Entry) int { return a.Time.Compare(b.Time) }) {
		d.out.entry(e, time.Now())
	}
	if d.verified != d.requests {
		return fmt.Errorf("the signatures of %d of %s were not right", d.requests-d.verified, count(d.requests, "request"))
	}
	d.out.printf("\n%s %s in %s, every signature right.\n",
		d.out.in(green, "✓"), count(made, "delivery"), count(d.requests, "request"))
	if !d.once {
		d.invite(api.Server(), path)
	}
	return nil
}

// invite says what to do next.
func (d *demo) invite(server, path string) {
	if resp, err := http.Get(server + "/"); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			d.out.printf("  The dashboard is at %s/\n", d.out.in(bold, server))
		}
	}
	d.out.printf("\nIt goes on until Ctrl-C. Meanwhile, in another terminal:\n")
	d.out.printf("  signalpost send --server %s\n", server)
	d.out.printf("  signalpost log -f --server %s\n", server)
	d.out.printf("  signalpost status --server %s\n", server)
	d.out.printf("  $EDITOR %s\n", path)
}

// describe names a signal of the demo.
func describe(body string) string {
	var s struct {
		Type       string  `json:"signal_type"`
		Confidence float64 `json:"confidence"`
		Account    struct {
			Name string `json:"name"`
		} `json:"account"`
	}
	json.NewDecoder(bytes.NewReader([]byte(body))).Decode(&s)
	return fmt.Sprintf("%s  %s, %g", fit(s.Type, 24), s.Account.Name, s.Confidence)
}
