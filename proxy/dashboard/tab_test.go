package dashboard_test

// The browser: tabs, what they show, and the hands of who uses them.

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// patience is how long the page may take to show what it should.
const patience = time.Minute

// browser starts Chromium once for a test and its subtests.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		const how = "no browser: install Chromium (on Debian: apt-get install chromium) to test the dashboard"
		if os.Getenv("CI") != "" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, _ = chromedp.NewContext(ctx)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("the browser does not start: %v", err)
	}
	t.Cleanup(func() { chromedp.Cancel(ctx) })
	return ctx
}

// A tab is one page of the browser. Whatever it complains of fails the test.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string
}

// open makes a tab of a width. Complaints that begin with one of those
// expected, by source and text, are none.
func open(t *testing.T, b context.Context, width int64, address string, expected ...string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b)
	p := &tab{t: t, ctx: ctx}
	messages := chromedp.Console(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for m, err := range messages {
			if err != nil {
				return
			}
			said := strings.TrimSpace(m.Source + " " + m.Text)
			ours := false
			for _, e := range expected {
				ours = ours || strings.HasPrefix(said, e)
			}
			if !ours {
				p.mu.Lock()
				p.complaints = append(p.complaints, fmt.Sprintf("%s: %s (%s:%d)", m.Type, said, m.URL, m.Line))
				p.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		if t.Failed() {
			p.shoot("failed-" + strings.ReplaceAll(t.Name(), "/", "-"))
			t.Logf("it showed:\n%s", p.text("main"))
		}
		if p.is("window.pwned !== undefined") {
			t.Error("text from outside ran as a script")
		}
		if n := p.number("document.querySelectorAll('main b b, main img:not([src^=\"/assets/\"]), main script, td b').length"); n != 0 {
			t.Errorf("text from outside became %v elements", n)
		}
		cancel()
		<-ended
		for _, c := range p.complaints {
			t.Errorf("the console says: %s", c)
		}
	})
	p.do(chromedp.EmulateViewport(width, 900), chromedp.Navigate(address))
	return p
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 2*patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

func eval[T any](p *tab, js string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](js))
	if err != nil {
		p.t.Errorf("%s: %v", js, err)
	}
	return v
}

func (p *tab) is(js string) bool        { p.t.Helper(); return eval[bool](p, "Boolean("+js+")") }
func (p *tab) number(js string) float64 { p.t.Helper(); return eval[float64](p, "Number("+js+")") }

// text is what people read of an element.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

// until waits for something to hold.
func (p *tab) until(js string) {
	p.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(30 * time.Millisecond) {
		if p.is(js) {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("not within %s: %s", patience, js)
		}
	}
}

// reads waits until an element says something.
func (p *tab) reads(selector, text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("(document.querySelector(%q)?.innerText ?? '').includes(%q)", selector, text))
}

// click clicks as a mouse does.
func (p *tab) click(selector string) {
	p.t.Helper()
	p.do(chromedp.Click(chromedp.CSS(selector)))
}

// press presses the button of that name in an element.
func (p *tab) press(in, name string) {
	p.t.Helper()
	button := fmt.Sprintf("[...document.querySelectorAll(%q)].find((b) => b.innerText.trim().startsWith(%q) && !b.disabled)", in+" button", name)
	p.until(button)
	p.is(button + ".click() || true")
}

func (p *tab) keys(keys string) { p.t.Helper(); p.do(chromedp.KeyEvent(keys)) }

// pick chooses of a select as people do: the change is told to the page.
func (p *tab) pick(selector, value string) {
	p.t.Helper()
	p.until(fmt.Sprintf("[...document.querySelector(%q)?.options ?? []].some((o) => o.value === %q)", selector, value))
	p.is(fmt.Sprintf("(() => { const s = document.querySelector(%q); s.value = %q; s.dispatchEvent(new Event('change', {bubbles: true})); return true })()", selector, value))
}

// write replaces what a field holds.
func (p *tab) write(selector, text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("document.querySelector(%q)", selector))
	p.is(fmt.Sprintf("(() => { const f = document.querySelector(%q); f.focus(); f.select(); return true })()", selector))
	p.keys(kb.Backspace)
	p.do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

func (p *tab) param(name string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf("new URLSearchParams(location.search).get(%q) ?? ''", name))
}

// shoot takes a picture if DASHBOARD_PICTURES names a folder for them.
func (p *tab) shoot(name string) {
	folder := os.Getenv("DASHBOARD_PICTURES")
	if folder == "" {
		return
	}
	png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, name+".png"), png, 0o600)
	}
	if err != nil {
		p.t.Logf("picture %s: %v", name, err)
	}
}

// allow takes complaints back that the test asked for.
func (p *tab) allow(prefix string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var rest []string
	for _, c := range p.complaints {
		if !strings.Contains(c, prefix) {
			rest = append(rest, c)
		}
	}
	p.complaints = rest
}
