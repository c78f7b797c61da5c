package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"signalpost/proxy/client"
	"signalpost/proxy/config"
	"signalpost/proxy/fleet"
	"signalpost/proxy/receiver"
	"signalpost/proxy/system"
	"signalpost/proxy/term"
)

const (
	fleetTime = 2 * time.Minute // that demo --fleet may take
	fleetSize = 3               // sidecars, and NATS servers
	toEach    = 10              // signals a sidecar
)

// fleetConfig is that of each sidecar of the demo: its port, its folder, the
// servers of NATS, the secret and the receiver's address.
const fleetConfig = `[server]
listen = "127.0.0.1:%d"

[queue]
path = %q

[fleet]
servers = [%s]

[[route]]
name   = "crm"
secret = %q
url    = "http://%s/crm"
retry  = { attempts = 100, first = "500ms", window = "1m" }
`

// A fleetDemo is one run of demo --fleet.
type fleetDemo struct {
	*demo // running: of each machine the NATS server, then of each the sidecar

	up  bool            // the receiver is; guarded by mu, as what follows
	got map[string]bool // ids of deliveries
}

// A process is one that the demo runs.
type process struct {
	*exec.Cmd
	file   string         // path of its config, but for .toml, and of what it says, but for .out
	api    *client.Client // of its HTTP, which a NATS server has too
	health string         // the path that answers 200 once it is ready
}

// run starts all, kills a part of it, shows what arrives, and leaves nothing behind.
func (d *fleetDemo) run(ctx context.Context) error {
	nats, err := exec.LookPath("nats-server")
	if err != nil {
		return errors.New("demo --fleet runs three NATS servers, and there is no nats-server in PATH: get it by \"go install github.com/nats-io/nats-server/v2@latest\" or from https://nats.io/download, 2.15 or newer")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return d.demo.run(ctx, d.receiver, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, fleetTime)
		defer cancel()
		if err := d.start(ctx, nats, self); err != nil {
			return err
		}
		return d.show(ctx)
	})
}

// receiver takes nothing until it is up.
func (d *fleetDemo) receiver() http.Handler {
	return receiver.New(receiver.Options{Secrets: []string{d.secret}, Seen: d.seen, Fail: 0.5, FailStatus: http.StatusNotFound, Rand: func() float64 {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.up {
			return 1
		}
		return 0
	}})
}

// seen notes a request that the receiver got.
func (d *fleetDemo) seen(r receiver.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !r.Verified() {
		d.wrong++
	} else if r.Status == http.StatusOK {
		d.got[r.ID] = true
	}
}

// start starts the servers, and when those are ready the sidecars.
func (d *fleetDemo) start(ctx context.Context, nats, self string) error {
	ports, err := system.FreePorts(4 * fleetSize) // a machine: of its sidecar, and for clients, other servers and probes of NATS
	if err != nil {
		return err
	}
	d.Printf("Three NATS servers and three sidecars start.\n")
	var servers, routes []string
	for p := range slices.Chunk(ports, 4) {
		servers = append(servers, fmt.Sprintf("\"nats://127.0.0.1:%d\"", p[1]))
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", p[2]))
	}
	for i := range fleetSize {
		p := ports[4*i:]
		config := fmt.Sprintf("server_name: n%d\nlisten: 127.0.0.1:%d\nhttp: 127.0.0.1:%d\njetstream { store_dir: %q, sync_interval: always }\ncluster { name: demo, listen: 127.0.0.1:%d, routes: [%s] }\n",
			i+1, p[1], p[3], filepath.Join(d.folder, fmt.Sprintf("nats-%d", i+1)), p[2], strings.Join(routes, ", "))
		if err := d.begin(config, p[3], "/healthz", nats, "-c"); err != nil {
			return err
		}
	}
	if err := d.ready(ctx); err != nil {
		return err
	}
	for i := range fleetSize {
		port := ports[4*i]
		config := fmt.Sprintf(fleetConfig, port, d.store(i), strings.Join(servers, ", "), d.secret, d.address)
		if err := d.begin(config, port, "/readyz", self, "run", "--config"); err != nil {
			return err
		}
	}
	return d.ready(ctx)
}

func (d *fleetDemo) store(i int) string {
	return filepath.Join(d.folder, fmt.Sprintf("sidecar-%d", i+1))
}

// begin starts a program that answers HTTP at a port; the config's file is its last argument.
func (d *fleetDemo) begin(config string, port int, health, program string, args ...string) error {
	file := filepath.Join(d.folder, fmt.Sprint(len(d.running)))
	if err := os.WriteFile(file+".toml", []byte(config), 0o600); err != nil {
		return err
	}
	out, err := os.Create(file + ".out")
	if err != nil {
		return err
	}
	defer out.Close()
	api, err := client.New(fmt.Sprintf("http://127.0.0.1:%d", port), "")
	if err != nil {
		return err
	}
	c := exec.Command(program, append(args, file+".toml")...)
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		return err
	}
	d.running = append(d.running, &process{c, file, api, health})
	return nil
}

// kill ends the process at once, if it has not ended.
func (p *process) kill() {
	p.Process.Kill()
	p.Wait()
}

// ready waits until all that runs is.
func (d *fleetDemo) ready(ctx context.Context) error {
	for _, p := range d.running {
		if err := until(ctx, func() bool { return p.api.Get(ctx, p.health, nil) == nil }); err != nil {
			said, _ := os.ReadFile(p.file + ".out")
			return fmt.Errorf("%s did not become ready: %w; it said: %s", filepath.Base(p.Path), err, said[max(0, len(said)-1000):])
		}
	}
	return nil
}

// until looks again and again.
func until(ctx context.Context, so func() bool) error {
	for !so() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// show sends the signals, kills the last machine, and prints what becomes of them.
func (d *fleetDemo) show(ctx context.Context) error {
	sidecars := d.running[fleetSize:]
	for i, s := range sidecars {
		body := strings.Repeat(demoSignals[1].body+"\n", toEach)
		if _, _, err := s.api.Send(ctx, client.Signals{Body: []byte(body), Lines: true, Key: fmt.Sprint("demo-", i)}); err != nil {
			return err
		}
	}
	all, last := fleetSize*toEach, fleetSize-1
	d.Printf("Each sidecar takes %d signals. The receiver is down, so all %d wait.\n", toEach, all)
	sidecars[last].kill()
	d.running[last].kill()
	if err := os.RemoveAll(d.store(last)); err != nil {
		return err
	}
	d.Printf("%s is killed, and its disk gone; so is %s.\nThe receiver is up again:\n", d.In(term.Bold, "Sidecar 3"), d.In(term.Bold, "NATS server 3"))
	d.mu.Lock()
	d.up = true
	d.mu.Unlock()
	began := time.Now()
	for _, n := range []int{all - toEach, all} {
		got := 0
		err := until(ctx, func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			got = len(d.got)
			return got >= n
		})
		if err != nil {
			return fmt.Errorf("%d of %d arrived within %s", got, all, term.Span(fleetTime))
		}
		d.Printf("  %d of %d arrived after %s\n", got, all, term.Span(time.Since(began).Round(time.Second)))
	}
	cfg, err := config.Load(ctx, sidecars[0].file+".toml")
	if err != nil {
		return err
	}
	ledgers, err := fleet.Look(ctx, fleet.Of(cfg), false)
	if err != nil {
		return err
	}
	report, _ := fleetReport(cfg.Fleet.Name, ledgers)
	d.Printf("\n")
	printFleet(d.Page, &report)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wrong > 0 {
		return fmt.Errorf("the signatures of %s were not right", term.Count(d.wrong, "request"))
	}
	d.Printf("\n%s %s, none lost, every signature right.\n", d.Mark(true), term.Count(all, "delivery"))
	if !d.once {
		d.Printf("\nIt goes on until Ctrl-C. Any sidecar shows all:\n  %s/\n  %s/\n", sidecars[0].api.Server(), sidecars[1].api.Server())
	}
	return nil
}
