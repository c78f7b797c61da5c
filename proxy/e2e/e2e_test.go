package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"signalpost/proxy/system"
)

// patience is how long a test waits for what is to come about. What comes takes
// far less, also on a machine that does thirty things at once; what does not
// come fails the test.
const patience = 3 * time.Minute

// binaries is the folder of the binary under test.
var binaries string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if binaries, err = os.MkdirTemp("", "signalpost-e2e-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(binaries)
		build := exec.Command("go", "build", "-ldflags", "-X main.version=1.2.3-test", "-o", filepath.Join(binaries, "signalpost"), "signalpost")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n%s", build, err, out)
			return 1
		}
		return m.Run()
	}())
}

// TestScripts runs the scripts. Each starts in a folder of its own with the
// variables PORT and RECEIVER, two free ports of loopback, and the files
// signal.json, a signal, and one.toml, a config with one route.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", binaries+string(os.PathListSeparator)+env.Getenv("PATH"))
			for _, name := range []string{"PORT", "RECEIVER"} {
				port, err := freePort()
				if err != nil {
					return err
				}
				env.Setenv(name, port)
			}
			env.Values[processes{}] = map[string]*process{}
			one := strings.NewReplacer("$PORT", env.Getenv("PORT"), "$RECEIVER", env.Getenv("RECEIVER")).Replace(oneRoute)
			return errors.Join(
				os.WriteFile(filepath.Join(env.WorkDir, "signal.json"), []byte(signal), 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "one.toml"), []byte(one), 0o600),
			)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"arrived": arrived,
			"edit":    edit,
			"ended":   ended,
			"get":     get,
			"grown":   grown,
			"load":    load,
			"post":    post,
			"send":    send,
			"start":   start,
			"until":   until,
		},
	})
}

const signal = `{"signal_type":"product_qualified_lead","confidence":0.92,"account":{"name":"Acme Corp","domain":"acme.com"},"id":12345678901234567890}`

const oneRoute = `[server]
listen = "127.0.0.1:$PORT"

[defaults]
retry = { attempts = 10, first = "50ms", window = "1h" }

[[route]]
name = "crm"
url = "http://127.0.0.1:$RECEIVER/one"
`

func freePort() (string, error) {
	ports, err := system.FreePorts(1)
	return fmt.Sprint(append(ports, 0)[0]), err
}

// processes is where a script's environment keeps those it started, by name.
type processes struct{}

type process struct {
	*exec.Cmd
	end chan struct{} // closed when it has ended
}

func started(ts *testscript.TestScript, name string) *process {
	p := ts.Value(processes{}).(map[string]*process)[name]
	if p == nil {
		ts.Fatalf("no process %s was started", name)
	}
	return p
}

// start NAME PROGRAM ARG… starts a process in the background. What it prints
// is appended to the file NAME.log. A receiver listens when start returns.
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM ARG…")
	}
	all := ts.Value(processes{}).(map[string]*process)
	if p := all[args[0]]; p != nil {
		select {
		case <-p.end:
		default:
			ts.Fatalf("%s runs already", args[0])
		}
	}
	program := args[1]
	if program == "signalpost" {
		program = filepath.Join(binaries, program)
	}
	log, err := os.OpenFile(ts.MkAbs(args[0]+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer log.Close()
	before, err := log.Seek(0, io.SeekEnd)
	ts.Check(err)
	p := &process{exec.Command(program, args[2:]...), make(chan struct{})}
	p.Dir = ts.MkAbs(".")
	p.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), "TMPDIR=" + ts.Getenv("TMPDIR")}
	p.Stdout, p.Stderr = log, log
	ts.Check(p.Start())
	all[args[0]] = p
	go func() {
		p.Wait()
		close(p.end)
	}()
	ts.Defer(func() {
		p.Process.Kill()
		<-p.end
	})
	if len(args) > 2 && args[2] == "listen" && !wait(func() bool {
		b, _ := os.ReadFile(log.Name())
		return bytes.Contains(b[min(int(before), len(b)):], []byte("listening on "))
	}) {
		ts.Fatalf("%s does not listen\n%s", args[0], end(ts, log.Name()))
	}
}

// send SIGNAL NAME sends a signal, such as TERM, to a process.
func send(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{
		"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL,
		"TERM": syscall.SIGTERM, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT,
	}
	if neg || len(args) != 2 || signals[args[0]] == 0 {
		ts.Fatalf("usage: send SIGNAL NAME")
	}
	ts.Check(started(ts, args[1]).Process.Signal(signals[args[0]]))
}

// ended NAME CODE waits for the end of a process, and checks its exit code;
// that of one that a signal killed is -1.
func ended(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ended NAME CODE")
	}
	p := started(ts, args[0])
	select {
	case <-p.end:
	case <-time.After(patience):
		ts.Fatalf("%s did not end\n%s", args[0], end(ts, args[0]+".log"))
	}
	if got := p.ProcessState.ExitCode(); strconv.Itoa(got) != args[1] {
		ts.Fatalf("%s ended with %d (%s), not %s\n%s", args[0], got, p.ProcessState, args[1], end(ts, args[0]+".log"))
	}
}

// until FILE REGEXP [COUNT] waits until a file has a match, or as many as
// COUNT; more are a fault. With ! it has none, or fewer, now.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: [!] until FILE REGEXP [COUNT]")
	}
	count := 1
	if len(args) == 3 {
		var err error
		count, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	matches := func() int {
		b, _ := os.ReadFile(ts.MkAbs(args[0]))
		return len(pattern.FindAll(b, -1))
	}
	if neg {
		if n := matches(); n >= count {
			ts.Fatalf("%s has %d matches of %s\n%s", args[0], n, args[1], end(ts, args[0]))
		}
		return
	}
	n := 0
	if !wait(func() bool { n = matches(); return n >= count }) {
		ts.Fatalf("%s has %d matches of %s, not %d\n%s", args[0], n, args[1], count, end(ts, args[0]))
	}
	if n > count {
		ts.Fatalf("%s has %d matches of %s, more than %d\n%s", args[0], n, args[1], count, end(ts, args[0]))
	}
}

// end is the end of a file, to be shown.
func end(ts *testscript.TestScript, file string) string {
	b, _ := os.ReadFile(ts.MkAbs(file))
	return string(b[max(0, len(b)-8<<10):])
}

// grown FILE N waits until a file has N lines at least.
func grown(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: grown FILE N")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	got := 0
	if !wait(func() bool { got = strings.Count(ts.ReadFile(args[0]), "\n"); return got >= n }) {
		ts.Fatalf("%s has %d lines", args[0], got)
	}
}

func wait(ok func() bool) bool {
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// edit FILE OLD NEW replaces text in a file, in place. \n in NEW is a line end.
func edit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: edit FILE OLD NEW")
	}
	old := ts.ReadFile(args[0])
	if !strings.Contains(old, args[1]) {
		ts.Fatalf("%s does not contain %s:\n%s", args[0], args[1], old)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.ReplaceAll(old, args[1], strings.ReplaceAll(args[2], `\n`, "\n"))), 0o600))
}

// fetch makes a request. An address unix:SOCKET/PATH goes to a socket.
func fetch(ts *testscript.TestScript, method, address, body string) (status int, answer string, err error) {
	transport := &http.Transport{DisableKeepAlives: true}
	if rest, ok := strings.CutPrefix(address, "unix:"); ok {
		socket, path, _ := strings.Cut(rest, ".sock/")
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", ts.MkAbs(socket+".sock"))
		}
		address = "http://localhost/" + path
	}
	req, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if method == "POST" {
		req.Header.Set("Content-Type", "application/json")
	}
	client := &http.Client{Transport: transport, Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// post FILE URL STATUS posts a file, and checks the answer's status. The
// answer is stdout.
func post(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: post FILE URL STATUS")
	}
	status, answer, err := fetch(ts, "POST", args[1], ts.ReadFile(args[0]))
	ts.Check(err)
	if strconv.Itoa(status) != args[2] {
		ts.Fatalf("answered %d, not %s: %s", status, args[2], answer)
	}
	fmt.Fprint(ts.Stdout(), answer)
}

// get URL STATUS [REGEXP] waits until the answer has that status and a match. The
// answer is stdout. ! get URL waits until there is no answer.
func get(ts *testscript.TestScript, neg bool, args []string) {
	if !neg && (len(args) < 2 || len(args) > 3) || neg && len(args) != 1 {
		ts.Fatalf("usage: get URL STATUS [REGEXP], or ! get URL")
	}
	var status int
	var answer string
	var err error
	if neg {
		if !wait(func() bool { status, answer, err = fetch(ts, "GET", args[0], ""); return err != nil }) {
			ts.Fatalf("answered %d %s", status, answer)
		}
		return
	}
	pattern := regexp.MustCompile("")
	if len(args) == 3 {
		pattern, err = regexp.Compile("(?m)" + args[2])
		ts.Check(err)
	}
	if !wait(func() bool {
		status, answer, err = fetch(ts, "GET", args[0], "")
		return err == nil && strconv.Itoa(status) == args[1] && pattern.MatchString(answer)
	}) {
		ts.Fatalf("the last answer was %d %s (%v)", status, answer, err)
	}
	fmt.Fprint(ts.Stdout(), answer)
}

// load URL FILE N posts signals from several connections at once until N are accepted or
// there is no answer any more; the ids of the deliveries that were promised are
// written to FILE. It goes on in the background; load wait waits for it.
func load(ts *testscript.TestScript, neg bool, args []string) {
	all := ts.Value(processes{}).(map[string]*process)
	if !neg && len(args) == 1 && args[0] == "wait" {
		<-started(ts, "load").end
		return
	}
	if neg || len(args) != 3 {
		ts.Fatalf("usage: load URL FILE N, or load wait")
	}
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	body := ts.ReadFile("signal.json")
	out, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	p := &process{end: make(chan struct{})}
	all["load"] = p
	const connections = 8
	transport := &http.Transport{MaxIdleConnsPerHost: connections}
	client := &http.Client{Transport: transport, Timeout: patience}
	one := func() (ids []string, err error) {
		resp, err := client.Post(args[0], "application/json", strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		var answer struct{ Deliveries []struct{ ID string } }
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusAccepted {
			return nil, fmt.Errorf("%d: %w", resp.StatusCode, err)
		}
		for _, d := range answer.Deliveries {
			ids = append(ids, d.ID)
		}
		return ids, nil
	}
	go func() {
		defer close(p.end)
		defer out.Close()
		defer transport.CloseIdleConnections()
		var mu sync.Mutex // guards out
		var each sync.WaitGroup
		for range connections {
			each.Go(func() {
				for range n / connections {
					ids, err := one()
					if err != nil {
						return
					}
					mu.Lock()
					for _, id := range ids {
						fmt.Fprintln(out, id)
					}
					mu.Unlock()
				}
			})
		}
		each.Wait()
	}()
	ts.Defer(func() { <-p.end })
}

// arrived FILE LOG waits until every delivery in FILE is in a receiver's LOG.
func arrived(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: arrived FILE LOG")
	}
	ids := strings.Fields(ts.ReadFile(args[0]))
	if len(ids) == 0 {
		ts.Fatalf("nothing was accepted")
	}
	var missing []string
	if !wait(func() bool {
		log := ts.ReadFile(args[1])
		missing = nil
		for _, id := range ids {
			if !strings.Contains(log, id) {
				missing = append(missing, id)
			}
		}
		return len(missing) == 0
	}) {
		ts.Fatalf("%d of %d deliveries did not arrive: %q", len(missing), len(ids), missing)
	}
	ts.Logf("%d deliveries", len(ids))
}
