package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestCampaign lets happen to the binary under load, in random order, what
// happens to programs: it is killed, or asked to stop, or suspended for a while,
// whoever reads its log stalls or goes away, files of its store are removed, it may open no
// more. Nothing that was answered 202 is lost, every attempt is accounted
// for as TestKills has it, and while it lives it accepts and delivers, or
// answers 503.
//
// SIGNALPOST_FAULTS is how many faults there are (12), SIGNALPOST_SEED repeats
// the random choices of a run. With 100 faults or more no answer but a 503 may
// take longer than 2 s, which on a machine that does other things proves nothing.
func TestCampaign(t *testing.T) {
	t.Parallel()
	faults := int(number(t, "SIGNALPOST_FAULTS", 12))
	seed := number(t, "SIGNALPOST_SEED", rand.Uint64())
	t.Logf("repeat with SIGNALPOST_SEED=%d SIGNALPOST_FAULTS=%d", seed, faults)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := &campaign{kills: newKills(t), rng: rng}
	c.level, c.refused = "info", true

	met := map[string]int{}
	for n := 0; n < faults; {
		n += c.live(faults-n, met)
	}
	c.start()
	c.ready()
	c.again()
	c.rest()
	c.accounted()
	c.stop()
	c.judge()
	t.Logf("met %v; %d answers took longer than 2 s", met, len(c.late))
	if faults < 100 {
		return
	}
	if len(c.late) > 0 {
		t.Errorf("%d answers took longer than 2 s, %v at most", len(c.late), slices.Max(c.late))
	}
	if met["attempts put off for want of files"] == 0 {
		t.Error("no attempt ever lacked a file")
	}
}

type campaign struct {
	*kills
	rng *rand.Rand
}

// A fault happens to a running sidecar, and may end its life.
var faults = []struct {
	name string
	do   func(*campaign) (ended bool)
}{
	{"kill", func(c *campaign) bool { c.die(); return true }},
	{"stop", func(c *campaign) bool { c.kills.stop(); return true }},
	{"pause", (*campaign).pause},
	{"stalled reader", (*campaign).stall},
	{"reader gone", (*campaign).leave},
	{"no files", (*campaign).starve},
	{"logs removed", func(c *campaign) bool { return c.remove("*.log") }},
	{"lock removed", func(c *campaign) bool { return c.remove("LOCK") }},
}

// live is one life under load. It meets some faults, most at most, and returns
// how many.
func (c *campaign) live(most int, met map[string]int) (n int) {
	c.t.Helper()
	c.start()
	c.ready()
	var posters sync.WaitGroup
	defer posters.Wait()
	for range 4 + c.rng.IntN(8) {
		own := rand.New(rand.NewPCG(c.rng.Uint64(), 0))
		posters.Go(func() {
			for !c.killed.Load() && !c.t.Failed() {
				c.post(c.signals(own))
			}
		})
	}
	for ended := false; !ended; {
		c.works(1 + c.rng.IntN(100))
		fault := faults[c.rng.IntN(len(faults))]
		if n >= most || c.t.Failed() {
			fault = faults[0]
		}
		met[fault.name]++
		n++
		c.t.Logf("life %d: %s", c.life, fault.name)
		ended = fault.do(c)
	}
	posters.Wait()
	c.kill()
	met["attempts put off for want of files"] += strings.Count(c.output.String(), "no attempt can be made: too many open files")
	return n
}

// works waits until so many more signals are accepted and deliveries arrive.
func (c *campaign) works(n int) {
	c.t.Helper()
	count := func() (accepted, arrived int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.accepted, c.arrived
	}
	accepted, arrived := count()
	if !wait(func() bool {
		a, d := count()
		return a >= accepted+n && d >= arrived+n
	}) {
		c.t.Errorf("life %d: it does not accept and deliver %d more", c.life, n)
	}
}

// pause suspends the process, as a virtual machine is.
func (c *campaign) pause() bool {
	c.signal(syscall.SIGSTOP)
	began := time.Now()
	time.Sleep(time.Duration(c.rng.IntN(2000)) * time.Millisecond)
	c.mu.Lock()
	c.paused += time.Since(began) + 100*time.Millisecond
	c.mu.Unlock()
	c.signal(syscall.SIGCONT)
	return false
}

func (c *campaign) signal(s syscall.Signal) {
	if err := c.process.Process.Signal(s); err != nil {
		c.t.Error(err)
	}
}

// stall has nobody read the log until more is said than a pipe holds.
func (c *campaign) stall() bool {
	c.output.Lock()
	defer c.output.Unlock()
	c.works(500)
	return false
}

// starve leaves the sidecar hardly any file that it could open, for a while.
func (c *campaign) starve() bool {
	c.t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.process.Process.Pid))
	if err != nil {
		c.t.Logf("there is no way to know its files: %v", err)
		return false
	}
	restore, err := limitFiles(c.process.Process.Pid, len(open)+c.rng.IntN(3))
	if err != nil {
		c.t.Error(err)
		return false
	}
	c.mu.Lock()
	c.reopened[c.life] = true
	c.mu.Unlock()
	time.Sleep(time.Duration(c.rng.IntN(3000)) * time.Millisecond)
	if err := restore(); err != nil {
		c.t.Error(err)
	}
	c.works(50)
	return false
}

// leave closes the other end of the log.
func (c *campaign) leave() bool {
	c.output.Lock()
	c.output.gone = true
	c.output.Unlock()
	c.works(100)
	return false
}

// remove removes files of the store. The sidecar notices, and takes no more until
// it is started again; what it has taken is kept.
func (c *campaign) remove(pattern string) bool {
	c.t.Helper()
	names, err := filepath.Glob(filepath.Join(c.dir, "data", pattern))
	if err != nil || len(names) == 0 {
		c.t.Errorf("the store has no %s: %v", pattern, err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
			c.t.Error(err)
		}
	}
	var status int
	var why string
	if !wait(func() bool {
		status, why = c.ask("/readyz")
		return status == http.StatusServiceUnavailable
	}) {
		c.t.Errorf("life %d: it does not notice that %s is gone", c.life, pattern)
	}
	c.t.Logf("life %d: without %d files: %s", c.life, len(names), why)
	c.accounted()
	c.kills.stop()
	return true
}

// ask asks the sidecar.
func (c *campaign) ask(path string) (status int, answer string) {
	resp, err := c.client.Get("http://" + c.address + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// accounted proves that the sidecar knows where each delivery is.
func (c *campaign) accounted() {
	c.t.Helper()
	if _, answer := c.ask("/metrics"); !strings.Contains(answer, "\nsignalpost_unaccounted 0\n") {
		c.t.Errorf("life %d: %s", c.life, regexp.MustCompile(`(?m)^signalpost_unaccounted.*$`).FindString(answer))
	}
}
