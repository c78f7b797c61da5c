package dashboard_test

// What the page shows of scenes that a real sidecar needs days or a hundred
// thousand deliveries for; see mock_test.go.

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// busy is a scene with some attempts in the log of each route.
func busy(names ...string) *scene {
	s := newScene(names...)
	for i := range 12 {
		s.attempt(i, names[i%len(names)], "product_qualified_lead", time.Duration(60-i)*time.Second, nil)
	}
	return s
}

func testCalm(t *testing.T, b context.Context) {
	s := busy("slack", "crm")
	p := open(t, b, 1280, s.start(t))
	p.reads("h1", "Nothing needs you")
	p.reads(".facts", "69.8 GiB")
	p.until("document.querySelector('.problems').hidden")
	p.until("document.querySelector('.plot path.good')")
	p.shoot("calm")
}

// Everything refused with 401: red, since when, and what was sent, in three clicks.
func testRefused(t *testing.T, b context.Context) {
	s := busy("slack", "crm")
	r := s.ails("crm", "bad", "refused", "every delivery is answered 401 Unauthorized; check the route's secret or token", 34*time.Minute)
	r["pending"], r["last_error"], r["last_error_at"] = 112, "answered 401 Unauthorized", back(time.Second)
	e := s.attempt(900, "crm", "lead", time.Minute, object{"verdict": "retry", "status": 401, "class": "4xx", "error": "answered 401 Unauthorized", "response": `{"error":"bad signature"}`, "next_attempt": stamp(time.Now().Add(time.Hour))})
	s.problems = []object{{"route": "crm", "class": "4xx", "status": 401, "error": "answered 401 Unauthorized", "count": 1312, "first": back(34 * time.Minute), "last": back(time.Second), "pending": 112, "dead": 0, "sample": e["delivery"]}}
	p := open(t, b, 1280, s.start(t))
	p.reads("h1", "One thing needs you")
	p.reads(".needs", "refused")
	p.reads(".needs", "34 min")
	p.reads(".needs", "1,312 ×")
	p.reads(routeRow("crm", "health"), "refused")
	p.reads(routeRow("crm", "last"), "401")
	p.shoot("refused")
	p.click(".need .button")
	p.reads("h1", "lead to crm")
	p.reads(".response", "bad signature")
	p.reads(".headers", "[signature]")
	p.reads(".split", "first byte")
	p.press(".delivery-head", "Send again")
	p.press("dialog", "Send again")
	p.until("!document.querySelector('dialog')")
	if n := len(s.had("POST /deliveries/")); n != 1 {
		t.Errorf("%d deliveries were sent again, want 1", n)
	}
}

// 50,000 dead of 410: counted, sent again in slices that can be stopped.
func testDead(t *testing.T, b context.Context) {
	s := busy("erp", "crm")
	s.ails("erp", "warn", "dying", "50,000 deliveries died; send them again when the receiver is back", 10*time.Minute)["dead"] = 50_000
	s.problems = []object{{"route": "erp", "class": "4xx", "status": 410, "error": "answered 410 Gone", "count": 50_000, "first": back(10 * time.Minute), "last": back(time.Second), "pending": 0, "dead": 50_000, "sample": "dlv_01K00000000000000000000000"}}
	p := open(t, b, 1280, s.start(t))
	p.reads(".needs", "50,000 dead")
	p.reads(routeRow("erp", "lost"), "50,000")
	p.shoot("dead")
	p.press(".needs", "Send 50,000 again")
	p.reads("dialog", "50,000 dead deliveries to erp would be sent again.")
	s.hold(func(s *scene) { s.pages = 40 })
	p.press("dialog", "Send 50,000 again")
	p.until("document.querySelector('dialog progress').value > 0")
	p.press("dialog", "Stop")
	p.reads("dialog", "Stopped.")
	made := len(s.had("POST /retry"))
	if made < 2 || made > 39 {
		t.Errorf("%d requests before it was stopped", made)
	}
	time.Sleep(300 * time.Millisecond)
	if again := len(s.had("POST /retry")); again != made {
		t.Errorf("%d more requests after it was stopped", again-made)
	}
}

func testHeld(t *testing.T, b context.Context) {
	s := busy("crm", "old", "stopped")
	r := s.ails("old", "warn", "held", "3 deliveries are held: put the route back, or discard them", 3*time.Hour)
	r["state"], r["held"], r["target"] = "gone", 3, nil
	r = s.ails("stopped", "warn", "paused", "paused for more than an hour; resume it", 95*time.Minute)
	r["state"], r["pending"], r["paused_by"] = "paused", 210, []string{"api"}
	p := open(t, b, 1280, s.start(t))
	p.reads("h1", "2 things need you")
	p.reads(".needs", "3 held")
	p.reads(routeRow("stopped", "wait"), "210")
	p.shoot("held")
	p.press(".needs", "Resume")
	p.press("dialog", "Resume")
	p.until("!document.querySelector('dialog')")
	if n := len(s.had("POST /routes/stopped/resume")); n != 1 {
		t.Errorf("it was resumed %d times", n)
	}
}

// Fifty routes, two of them alike but for the last letter of 63, on a desk, at
// twice the size, and on a phone.
func testRoutes(t *testing.T, b context.Context) {
	long := strings.Repeat("a-very-long-name-", 4)[:62]
	names := []string{long + "x", long + "y"}
	for i := range 48 {
		names = append(names, fmt.Sprintf("route-%02d", i))
	}
	s := busy(names...)
	s.ails("route-30", "bad", "failing", "only probes are sent", time.Hour)["state"] = "failing"
	at := s.start(t)
	p := open(t, b, 1280, at)
	p.reads(".routes tbody tr", "route-30") // first, for it needs somebody
	p.press("main", "Show all 50 routes")
	p.until("document.querySelectorAll('.routes tbody tr').length === 50")
	for _, name := range names[:2] {
		p.reads(routeRow(name, "name"), name)
	}
	for _, width := range []int64{1280, 640, 390} {
		p.do(chromedp.EmulateViewport(width, 900))
		p.until(fmt.Sprintf("document.documentElement.scrollWidth <= %d", width))
		p.shoot(fmt.Sprintf("routes-%d", width))
	}
	if high := p.number("Math.max(...[...document.querySelectorAll('.routes tbody tr')].slice(3).map((r) => r.offsetHeight))"); high > 40 {
		t.Errorf("a route is %v high on a phone, more than one line", high)
	}
	if p.is("document.querySelector('.problems').getBoundingClientRect().top > document.querySelector('.plot').getBoundingClientRect().top") {
		t.Error("the problems do not come first")
	}
}

// A sidecar that stands still: all is grey within six seconds, with the time.
func testFrozen(t *testing.T, b context.Context) {
	s := busy("crm")
	p := open(t, b, 1280, s.start(t), "network Failed to load resource") // what timed out
	p.reads("h1", "Nothing needs you")
	thaw := make(chan struct{})
	s.hold(func(s *scene) { s.frozen = thaw })
	began := time.Now()
	p.until("document.body.classList.contains('stale')")
	if d := time.Since(began); d > 6*time.Second {
		t.Errorf("grey after %s", d)
	}
	if text := p.text("#age"); !strings.HasPrefix(text, "as of ") {
		t.Errorf("it says %q", text)
	}
	p.shoot("frozen")
	s.hold(func(s *scene) { s.frozen = nil })
	close(thaw)
	p.until("!document.body.classList.contains('stale')")
}

// A delivery page that is read: what is selected stays so while the next attempt
// comes, and a finished one is not asked for again.
func testReading(t *testing.T, b context.Context) {
	s := busy("crm")
	retry := object{"verdict": "retry", "status": 503, "class": "5xx", "error": "answered 503", "response": "try later", "next_attempt": stamp(time.Now().Add(time.Minute))}
	e := s.attempt(70, "crm", "lead", 20*time.Second, retry)
	p := open(t, b, 1280, s.start(t)+"/?view=delivery&id="+e["delivery"].(string))
	p.reads(".attempts-list", "Attempt 1")
	p.is("(() => { getSelection().selectAllChildren(document.querySelector('.response')); window.kept = document.querySelector('.body .code'); document.querySelector('.body details details').open = false; scrollTo(0, 200); return true })()")
	retry["attempt"], retry["response"] = 2, "try later, please"
	s.attempt(70, "crm", "lead", 0, retry)
	p.reads(".attempts-list", "Attempt 2")
	p.reads("mark", "please")
	asked := "GET /deliveries/" + e["delivery"].(string)
	n := len(s.had(asked))
	time.Sleep(11 * time.Second)
	if again := len(s.had(asked)) - n; again < 1 || again > 3 {
		t.Errorf("one that waits was asked for %d times in 11 s", again)
	}
	if !p.is("getSelection().toString() === 'try later' && window.kept === document.querySelector('.body .code') && !document.querySelector('.body details details').open && scrollY === 200") {
		t.Error("what was selected, folded or scrolled did not stay")
	}
	p.write(".find-json", "acme.com")
	p.reads(".find-line", "1 line")
	p.until("document.querySelector('.ln.hit') && document.querySelector('.body details details').open") // what is found is unfolded
	s.attempt(70, "crm", "lead", 0, object{"attempt": 3})
	p.reads(".state-line", "Delivered after 3 attempts")
	n = len(s.had(asked))
	time.Sleep(6 * time.Second)
	if again := len(s.had(asked)) - n; again != 0 {
		t.Errorf("a finished one was asked for %d times", again)
	}
	p.is("(() => { navigator.clipboard.writeText = async (t) => { window.copied = t }; return true })()")
	p.press(".panel-head", "Copy as curl")
	p.until(`window.copied?.includes('"$CRM_URL"') && window.copied.includes("-H 'X-Api-Key: '\"$X_API_KEY\"")`)
	p.press(".panel-head", "Copy verify")
	p.until(`window.copied?.includes("signalpost verify")`)
}

// Charts: a busy route beside a quiet one, what is unknown, the keys, the same
// scale, a stretch that is selected.
func testCharts(t *testing.T, b context.Context) {
	s := busy("busy", "quiet")
	s.known = 30 * time.Minute
	s.rate = func(route string, at time.Time) object {
		n := 0
		if ago := time.Since(at); ago < 4*time.Minute && ago > time.Minute && route == "busy" {
			n = 1800
		}
		return object{"accepted": n, "delivered": n, "failed": object{"5xx": n / 100}, "dead": 0, "p50_ms": 20, "p95_ms": 40, "p99_ms": 60}
	}
	p := open(t, b, 1280, s.start(t))
	p.reads(".readout", "5,400 delivered")
	p.reads(".readout", "54 failed attempts (5xx 54)")
	p.reads(".plot", "unknown")
	p.reads(".plot", "20/s") // the gridline
	p.until("document.querySelector('.flag')")
	p.until(fmt.Sprintf("document.querySelector(%q) && !document.querySelector(%q)", routeRow("busy", "spark path.good"), routeRow("quiet", "spark path.good")))
	p.is("document.querySelector('.chart').focus() || true")
	p.keys(kb.ArrowLeft + kb.ArrowLeft + kb.ArrowLeft)
	p.reads(".readout", "1,800 delivered")
	p.until("document.querySelector('.chart').getAttribute('aria-valuetext').includes('1,800 delivered')")
	p.keys(kb.Home)
	p.reads(".readout", "unknown")
	p.keys(kb.End)
	p.do(chromedp.KeyEvent(kb.ArrowLeft, chromedp.KeyModifiers(chromedp.ModifierShift)), chromedp.KeyEvent(kb.ArrowLeft, chromedp.KeyModifiers(chromedp.ModifierShift)))
	p.keys(kb.Enter)
	p.until("new URLSearchParams(location.search).get('from')")
	p.press(".segments", "selected")
	p.until("!location.search")
	p.click(".panel-head input[type=checkbox]")
	p.do(chromedp.Navigate(eval[string](p, "location.origin") + "/?view=route&name=busy"))
	p.reads("figure:nth-of-type(2) .readout", "half within 20 ms")
	p.shoot("charts")
}

// A delivery beside the list: the list stays where it is, j and k go through it, each
// step can be gone back, and where there is no room it is a page.
func testBeside(t *testing.T, b context.Context) {
	s := busy("crm", "erp")
	for i := range 30 {
		s.attempt(100+i, "crm", fmt.Sprintf("lead_%02d", i), time.Duration(30-i)*time.Second, object{"verdict": "retry", "status": 503, "error": "answered 503", "response": "try later", "next_attempt": stamp(time.Now().Add(time.Minute))})
	}
	p := open(t, b, 1400, s.start(t))
	p.until(logRows + " === 42")
	p.is("document.querySelectorAll('.log a[data-row]')[8].focus() || true")
	p.keys(kb.Enter)
	p.reads(".side h1", "lead_21 to crm")
	p.keys("j")
	p.reads(".side h1", "lead_20 to crm")
	if y := p.number("scrollY"); y == 0 {
		t.Error("the list did not stay where it was")
	}
	if p.is("document.documentElement.scrollWidth > 1400") {
		t.Error("it is wider than the screen")
	}
	p.shoot("beside")
	p.is("document.querySelectorAll('.log a[data-row]')[3].click() || true")
	p.reads(".side h1", "lead_26 to crm")
	p.is("history.back()")
	p.reads(".side h1", "lead_20 to crm")
	p.click(".side .back a")
	p.until("document.querySelector('.side').hidden && !location.search")
	p.do(chromedp.EmulateViewport(800, 900))
	p.is("document.querySelectorAll('.log a[data-row]')[3].click() || true")
	p.reads("main h1", "lead_26 to crm")
}

// Two tabs share one stream.
func testTabs(t *testing.T, b context.Context) {
	s := busy("crm")
	at := s.start(t)
	p := open(t, b, 1280, at)
	p.reads(".live", "Live")
	q := open(t, b, 1280, at)
	q.reads(".live", "Live")
	s.attempt(500, "crm", "fresh_signal", 0, nil)
	p.reads(".log tbody tr", "fresh_signal")
	q.reads(".log tbody tr", "fresh_signal")
	if n := len(s.had("GET /log?follow=true")); n != 1 {
		t.Errorf("two tabs follow the log %d times", n)
	}
	p.do(chromedp.Navigate("about:blank")) // the one that led goes
	p.until("location.href === 'about:blank'")
	for end := time.Now().Add(patience); len(s.had("GET /log?follow=true")) < 2 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
	}
	time.Sleep(300 * time.Millisecond)
	s.attempt(501, "crm", "later_signal", 0, nil)
	q.reads(".log tbody tr", "later_signal")
}

// A sidecar whose clock is an hour ahead of the browser's is believed.
func testClock(t *testing.T, b context.Context) {
	s := newScene("crm")
	s.skew = time.Hour
	s.attempt(1, "crm", "lead", -time.Hour, nil)
	s.route("crm")["last_success"] = back(-time.Hour + 30*time.Second)
	p := open(t, b, 1280, s.start(t))
	p.until(fmt.Sprintf(`document.querySelector(%q)?.innerText.match(/delivered 3\d s ago/)`, routeRow("crm", "last")))
	p.pick("select[name=zone]", "UTC")
	p.until(fmt.Sprintf("document.querySelector('.log time').innerText === %q", time.Now().Add(time.Hour).UTC().Format("15:04:")+eval[string](p, "document.querySelector('.log time').dateTime.slice(17, 19)")))
}

// What is no view is the overview, whatever objects are made of.
func testViews(t *testing.T, b context.Context) {
	at := busy("crm").start(t)
	p := open(t, b, 1280, at)
	for _, view := range []string{"constructor", "__proto__", "toString", "nothing"} {
		p.do(chromedp.Navigate(at + "/?view=" + view + "&range=constructor"))
		p.reads("h1", "Nothing needs you")
	}
	p.do(chromedp.Navigate(at + "/?view=route&name=nothing"))
	p.reads("main", "There is no route of this name")
}

// axe-core, where there is one, finds nothing.
func testAxe(t *testing.T, b context.Context) {
	path := os.Getenv("DASHBOARD_AXE")
	if path == "" {
		t.Skip("DASHBOARD_AXE names no axe.min.js")
	}
	axe, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := busy("erp", "crm")
	s.ails("erp", "bad", "failing", "only probes are sent", time.Hour)["dead"] = 7
	s.problems = []object{{"route": "erp", "class": "4xx", "status": 410, "error": "answered 410 Gone", "count": 7, "first": back(10 * time.Minute), "last": back(time.Second), "pending": 0, "dead": 7, "sample": "dlv_01K00000000000000000000000"}}
	e := s.attempt(70, "crm", "lead", 20*time.Second, object{"verdict": "retry", "status": 503, "error": "answered 503", "response": "try later", "next_attempt": stamp(time.Now().Add(time.Minute))})
	at := s.start(t)
	for _, scheme := range []string{"light", "dark"} {
		for _, view := range []string{"", "q=verdict:failed", "view=deliveries", "look=" + e["delivery"].(string), "view=delivery&id=" + e["delivery"].(string), "view=route&name=erp", "view=playground"} {
			p := open(t, b, 1280, at+"/?"+view)
			p.is(fmt.Sprintf("(document.documentElement.style.colorScheme = %q)", scheme))
			p.until("document.querySelector('.log tbody tr, .deliveries tbody tr, .attempts-list li, .trial')")
			time.Sleep(time.Second)
			p.is("(() => {" + string(axe) + "\nreturn true })()")
			p.is("axe.run({ resultTypes: ['violations'] }).then((r) => { window.found = JSON.stringify(r.violations.map((v) => [v.id, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + ' ' + n.failureSummary)]), null, 1) }) && true")
			p.until("window.found")
			if found := eval[string](p, "window.found"); found != "[]" {
				t.Errorf("%s %s: %s", scheme, view, found)
			}
		}
	}
}
