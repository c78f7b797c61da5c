package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

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
	term.Page
	folder  string
	running []*exec.Cmd // of each machine the NATS server, then of each the sidecar

	mu    sync.Mutex // guards what follows
	up    bool       // the receiver is
	got   map[string]bool
	wrong int // requests without a signature that is right
}

// run starts all, kills a part of it, shows what arrives, and leaves nothing behind.
func (d *fleetDemo) run(ctx context.Context, once bool) error {
	nats, err := exec.LookPath("nats-server")
	if err != nil {
		return errors.New("demo --fleet runs three NATS servers, and there is no nats-server in PATH: get it by \"go install github.com/nats-io/nats-server/v2@latest\" or from https://nats.io/download, 2.15 or newer")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return inScratch(func(folder string) error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		d.folder, d.got = folder, map[string]bool{}
		secret := newSecret()
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		parts, ctx := errgroup.WithContext(ctx)
		crm := receiver.New(receiver.Options{Secrets: []string{secret}, Seen: d.seen, Fail: 0.5, FailStatus: http.StatusNotFound, Rand: func() float64 {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.up {
				return 1
			}
			return 0
		}})
		parts.Go(func() error { return serve(ctx, l, crm, func() {}) })
		parts.Go(func() error {
			defer stop()
			defer func() {
				for _, c := range d.running {
					kill(c)
				}
			}()
			timed, cancel := context.WithTimeout(ctx, fleetTime)
			defer cancel()
			sidecars, err := d.start(timed, nats, self, secret, l.Addr().String())
			if err == nil {
				err = d.show(timed, sidecars)
			}
			if err == nil && !once {
				d.Printf("\nIt goes on until Ctrl-C. Any sidecar shows all:\n  %s/\n  %s/\n", sidecars[0].Server(), sidecars[1].Server())
				<-ctx.Done()
			}
			return err
		})
		return parts.Wait()
	})
}

// seen notes a request that the receiver got.
func (d *fleetDemo) seen(r receiver.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	wrong := len(r.Signatures) == 0
	for _, s := range r.Signatures {
		wrong = wrong || s.Err != nil
	}
	if wrong {
		d.wrong++
	} else if r.Status == http.StatusOK {
		d.got[r.ID] = true
	}
}

// start starts the servers, and when those are ready the sidecars.
func (d *fleetDemo) start(ctx context.Context, nats, self, secret, receiver string) (sidecars []*client.Client, err error) {
	ports, err := system.FreePorts(4 * fleetSize) // a machine: of its sidecar, and for clients, other servers and probes of NATS
	if err != nil {
		return nil, err
	}
	d.Printf("Three NATS servers and three sidecars start.\n")
	var servers, routes []string
	for i := range fleetSize {
		servers = append(servers, fmt.Sprintf("\"nats://127.0.0.1:%d\"", ports[4*i+1]))
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[4*i+2]))
	}
	// Each is a program, its argument before the file, the file, and where it tells that it is ready.
	var all [2 * fleetSize][4]string
	for i := range fleetSize {
		p := ports[4*i:]
		all[i] = [4]string{nats, "-c", fmt.Sprintf("server_name: n%d\nlisten: 127.0.0.1:%d\nhttp: 127.0.0.1:%d\njetstream { store_dir: %q, sync_interval: always }\ncluster { name: demo, listen: 127.0.0.1:%d, routes: [%s] }\n",
			i+1, p[1], p[3], filepath.Join(d.folder, fmt.Sprintf("nats-%d", i+1)), p[2], strings.Join(routes, ", ")), fmt.Sprintf("127.0.0.1:%d/healthz", p[3])}
		all[fleetSize+i] = [4]string{self, "--config", fmt.Sprintf(fleetConfig, p[0], d.store(i), strings.Join(servers, ", "), secret, receiver), fmt.Sprintf("127.0.0.1:%d/readyz", p[0])}
		api, err := client.FromListen(fmt.Sprintf("127.0.0.1:%d", p[0]), "")
		if err != nil {
			return nil, err
		}
		sidecars = append(sidecars, api)
	}
	for i, what := range all {
		if err := d.begin(i, what[0], what[1], what[2]); err != nil {
			return nil, err
		}
		for first := i + 1 - fleetSize; i%fleetSize == fleetSize-1 && first <= i; first++ {
			if err := d.until(ctx, func() bool { return ready(ctx, "http://"+all[first][3]) }); err != nil {
				said, _ := os.ReadFile(d.file(first, "out"))
				return nil, fmt.Errorf("%s did not become ready: %w; it said: %s", filepath.Base(all[first][0]), err, said[max(0, len(said)-1000):])
			}
		}
	}
	return sidecars, nil
}

func (d *fleetDemo) store(i int) string {
	return filepath.Join(d.folder, fmt.Sprintf("sidecar-%d", i+1))
}

func (d *fleetDemo) file(i int, kind string) string {
	return filepath.Join(d.folder, fmt.Sprintf("%d.%s", i, kind))
}

// begin starts process i with a config.
func (d *fleetDemo) begin(i int, program, flag, text string) error {
	if err := os.WriteFile(d.file(i, "toml"), []byte(text), 0o600); err != nil {
		return err
	}
	out, err := os.Create(d.file(i, "out"))
	if err != nil {
		return err
	}
	defer out.Close()
	args := []string{flag, d.file(i, "toml")}
	if flag == "--config" {
		args = append([]string{"run"}, args...)
	}
	c := exec.Command(program, args...)
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		return err
	}
	d.running = append(d.running, c)
	return nil
}

// kill ends a process at once, if it has not ended.
func kill(c *exec.Cmd) {
	c.Process.Kill()
	c.Wait()
}

func ready(ctx context.Context, address string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// until looks again and again.
func (d *fleetDemo) until(ctx context.Context, so func() bool) error {
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
func (d *fleetDemo) show(ctx context.Context, sidecars []*client.Client) error {
	for i, s := range sidecars {
		body := strings.Repeat(demoSignals[1].body+"\n", toEach)
		if _, _, err := s.Send(ctx, client.Signals{Body: []byte(body), Lines: true, Key: fmt.Sprint("demo-", i)}); err != nil {
			return err
		}
	}
	all, last := fleetSize*toEach, fleetSize-1
	d.Printf("Each sidecar takes %d signals. The receiver is down, so all %d wait.\n", toEach, all)
	kill(d.running[fleetSize+last])
	kill(d.running[last])
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
		err := d.until(ctx, func() bool {
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
	cfg, err := config.Load(ctx, d.file(fleetSize, "toml"))
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
	d.Printf("\n%s %s, none lost, every signature right.\n", d.In(term.Green, "✓"), term.Count(all, "delivery"))
	return nil
}
