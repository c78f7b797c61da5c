// Package natstest runs a cluster of real nats-server processes for tests, each
// with a folder and ports of its own, and a proxy before it that can cut and delay.
package natstest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"signalpost/proxy/system"
)

// Version is of the nats-server that tests run.
const Version = "v2.15.3"

// server is the path of the nats-server that tests run: NATS_SERVER, or one that
// the Go command builds, once a machine.
var server = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("NATS_SERVER"); path != "" {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, "signalpost-test", Version)
	path := filepath.Join(folder, "nats-server")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(folder+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close() // which lets go of it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil { // built by another test meanwhile
		return path, nil
	}
	build := exec.Command("go", "install", "github.com/nats-io/nats-server/v2@"+Version)
	build.Dir, build.Env = os.TempDir(), append(os.Environ(), "GOBIN="+folder, "GOFLAGS=-trimpath")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("nats-server cannot be built: %w\n%s", err, out)
	}
	return path, nil
})

// Server is the path of the nats-server; without one the test is skipped, or fails in CI.
func Server(t testing.TB) string {
	t.Helper()
	path, err := server()
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return path
}

// A Cluster is nodes that run until the test ends.
type Cluster struct{ Nodes []*Node }

// A Node is one server. Its methods fail the test if they cannot be done.
type Node struct {
	t      testing.TB
	folder string
	port   int // the server's own; clients come by the proxy
	proxy  *proxy
	cmd    *exec.Cmd // without a Process: it does not run

	monitor int // port
}

// Start runs a cluster of so many nodes, 1 or 3, and waits until JetStream answers.
// Lines in extra are added to each server's config.
func Start(t testing.TB, nodes int, extra ...string) *Cluster {
	t.Helper()
	path := Server(t)
	c := &Cluster{}
	ports, err := system.FreePorts(3 * nodes)
	if err != nil {
		t.Fatal(err)
	}
	for i := range nodes {
		n := &Node{t: t, folder: t.TempDir(), port: ports[i], monitor: ports[2*nodes+i]}
		n.proxy = newProxy(t, fmt.Sprintf("127.0.0.1:%d", n.port))
		config := fmt.Sprintf("server_name: n%d\nlisten: 127.0.0.1:%d\nhttp: 127.0.0.1:%d\nclient_advertise: %q\njetstream { store_dir: %q, sync_interval: always, max_mem: 64M, max_file: 8G }\n",
			i+1, n.port, n.monitor, n.proxy.addr(), filepath.Join(n.folder, "js"))
		if nodes > 1 {
			var routes []string
			for j := range nodes {
				routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[nodes+j]))
			}
			config += fmt.Sprintf("cluster { name: test, listen: 127.0.0.1:%d, routes: [%s] }\n", ports[nodes+i], strings.Join(routes, ", "))
		}
		config += strings.Join(extra, "\n") + "\n"
		if err := os.WriteFile(filepath.Join(n.folder, "nats.conf"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		n.cmd = exec.Command(path)
		n.Start()
		t.Cleanup(n.Kill)
		c.Nodes = append(c.Nodes, n)
	}
	c.Ready()
	return c
}

// URLs are where clients reach the nodes, through their proxies.
func (c *Cluster) URLs() (urls []string) {
	for _, n := range c.Nodes {
		urls = append(urls, n.URL())
	}
	return urls
}

// Ready waits until all nodes that run say that JetStream answers, and that
// their parts of it are up to date. Before that a majority may lack what was acknowledged, if a disk is wiped.
func (c *Cluster) Ready() {
	t := c.Nodes[0].t
	t.Helper()
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = c.ready(); err == nil {
			return
		}
	}
	t.Fatalf("the cluster is not ready: %v", err)
}

func (c *Cluster) ready() error {
	for _, n := range c.Nodes {
		if n.cmd.Process == nil {
			continue
		}
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", n.monitor))
		if err != nil {
			return err
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", n.URL(), body)
		}
	}
	return nil
}

// URL is where clients reach the node, through its proxy.
func (n *Node) URL() string { return "nats://" + n.proxy.addr() }

// Start runs the node, which must not be running.
func (n *Node) Start() {
	n.t.Helper()
	out, err := os.OpenFile(filepath.Join(n.folder, "out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer out.Close()
	n.cmd = exec.Command(n.cmd.Path, "-c", filepath.Join(n.folder, "nats.conf"))
	n.cmd.Stdout, n.cmd.Stderr = out, out
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
}

// Kill ends the node at once, if it runs.
func (n *Node) Kill() { n.end(syscall.SIGKILL) }

// Stop ends the node as an operator does.
func (n *Node) Stop() { n.end(syscall.SIGTERM) }

func (n *Node) end(s syscall.Signal) {
	if n.cmd.Process == nil || n.cmd.ProcessState != nil {
		return
	}
	_ = n.cmd.Process.Signal(s)
	_ = n.cmd.Wait()
	n.cmd.Process = nil
}

// Freeze stops the process as it is; Thaw lets it go on.
func (n *Node) Freeze() { n.signal(syscall.SIGSTOP) }

// Thaw ends a Freeze.
func (n *Node) Thaw() { n.signal(syscall.SIGCONT) }

func (n *Node) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Error(err)
	}
}

// Wipe empties the disk of a node that does not run.
func (n *Node) Wipe() {
	n.t.Helper()
	if err := os.RemoveAll(filepath.Join(n.folder, "js")); err != nil {
		n.t.Error(err)
	}
}

// Store is the folder of what JetStream keeps.
func (n *Node) Store() string { return filepath.Join(n.folder, "js") }

// Output is what the server has said.
func (n *Node) Output() string {
	b, _ := os.ReadFile(filepath.Join(n.folder, "out"))
	return string(b)
}

// Cut ends all connections of clients to the node and refuses more; Mend ends that.
func (n *Node) Cut() { n.proxy.cut(true) }

// Mend ends a Cut.
func (n *Node) Mend() { n.proxy.cut(false) }

// Delay has all that goes to clients and comes from them take so much longer.
func (n *Node) Delay(d time.Duration) { n.proxy.set(func() { n.proxy.delay = d }) }

// A proxy passes connections on, unless it is cut.
type proxy struct {
	l  net.Listener
	to string

	mu    sync.Mutex
	off   bool              // guarded by mu, as all below
	delay time.Duration     // each way
	open  map[net.Conn]bool // both sides of all connections
}

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, to: to, open: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.pass(c) })
		}
	})
	t.Cleanup(func() { l.Close(); p.cut(true); running.Wait() })
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *proxy) cut(off bool) {
	p.set(func() {
		if p.off = off; off {
			for c := range p.open {
				c.Close()
			}
		}
	})
}

func (p *proxy) pass(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer out.Close()
	ok := false
	p.set(func() {
		if ok = !p.off; ok {
			p.open[in], p.open[out] = true, true
		}
	})
	if !ok {
		return
	}
	defer p.set(func() { delete(p.open, in); delete(p.open, out) })
	var both sync.WaitGroup
	both.Go(func() { defer in.Close(); p.copy(out, in) })
	both.Go(func() { defer out.Close(); p.copy(in, out) })
	both.Wait()
}

// copy copies until either side ends.
func (p *proxy) copy(to io.Writer, from io.Reader) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		var delay time.Duration
		p.set(func() { delay = p.delay })
		time.Sleep(delay)
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
