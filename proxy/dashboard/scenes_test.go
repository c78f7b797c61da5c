package dashboard_test

// What people meet when something is wrong, and when there is much of it. With
// DASHBOARD_FULL set what takes minutes is as long and as much as it is out there.

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// whole is full if everything is to be as long as out there, else brief.
func whole[T any](full, brief T) T {
	if os.Getenv("DASHBOARD_FULL") != "" {
		return full
	}
	return brief
}

// table is the [[route]] of a name, whose url ends in a path; more is further keys.
func table(name, path, more string) string {
	return fmt.Sprintf("[[route]]\nname = %q\nurl = \"RECEIVER/%s\"\nsignal_types = [%q]\n%s\n", name, path, name, more)
}

const patient = `retry = { attempts = 5, first = "1h", window = "24h" }`

// Everything refused with 401: red, since when, why, what was sent, and sent again, in
// a few clicks.
func testRefused(t *testing.T, b context.Context) {
	s := start(t, &site{}, "", table("slack", "ok", "")+table("crm", "refused", patient+"\nwhere = '.signal_type == \"crm\"'\nsecret = \"whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtMTIz\"\nheaders = { X-Api-Key = \"never-shown-key\" }"))
	s.send(`{"signal_type":"slack"}`)
	s.sendMany(7, "crm")
	p := open(t, b, 1280, s.url)
	p.reads("h1", "One thing needs you")
	p.reads(".needs", "refused")
	p.reads(".needs", "401")
	p.reads(".needs", "7 ×")
	p.reads(".needs", "7 wait")
	p.until("document.querySelector('.cause .spark path.fails')")
	p.reads(routeRow("crm", "health"), "refused")
	p.reads(routeRow("crm", "last"), "401")
	p.reads(routeRow("crm", "ok-1h"), "0 %")
	p.reads(routeRow("slack", "health"), "ok")
	p.shoot("refused")
	p.click(".need .button")
	p.reads("h1", "crm to crm")
	p.reads(".response", "bad signature")
	p.reads(".headers", "[signature]")
	p.reads(".headers", "X-Api-Key\t[secret]")
	p.reads(".split", "first byte")
	p.reads(".split", "to 127.0.0.1:")
	p.shoot("refused-delivery")
	p.press(".delivery-head", "Explain")
	p.reads("dialog .tried", "took it crm It passes.")
	p.reads("dialog .tried", ".signal_type\t\"crm\"")
	p.reads("dialog .steps", "Attempt 1: answered 401 Unauthorized")
	p.reads("dialog .steps", "Schedule: the gap before attempt 2 of 5.")
	p.is("[...document.querySelectorAll('dialog details')].every((d) => d.open = true)")
	p.reads("dialog .steps", "Webhook-Signature (standard) signs dlv_")
	p.reads("dialog .steps", "X-Api-Key\t[secret]")
	p.reads("dialog .next-step", "Attempt 2 of 5")
	p.shoot("explain")
	p.press("dialog", "Close")
	p.until("!document.querySelector('dialog')")
	s.answer("/refused", 200)
	p.press(".delivery-head", "Send again")
	p.press("dialog", "Send again")
	p.until("!document.querySelector('dialog')")
	p.reads(".state-line", "Delivered after 2 attempts")
	p.reads(".attempts-list", "sent by hand")
	p.is("history.back()")
	p.reads("h1", "Nothing needs you")
	s.answer("/refused", 401)
	s.sendMany(5, "crm")
	p.reads(".needs", "11 wait")
	s.answer("/refused", 200)
	p.press(".needs", "Send 11 waiting")
	p.reads("dialog", "11 pending deliveries to crm would be sent again.")
	p.press("dialog", "Send 11 again")
	p.reads("h1", "Nothing needs you")
	p.until("document.querySelector('.problems').innerText.includes('no action needed')")
	if n := len(s.arrived("/refused")); n != 7+1+5+11 {
		t.Errorf("the receiver got %d requests", n)
	}
}

// 410 for all of one route: counted, sent again in slices that can be stopped.
func testDead(t *testing.T, b context.Context) {
	n := whole(50_000, 4_000)
	said := fmt.Sprintf("%d,%03d", n/1000, n%1000)
	s := start(t, &site{}, "", table("erp", "gone", "concurrency = 64")+table("crm", "ok", ""))
	s.sendMany(n, "erp")
	s.send(`{"signal_type":"crm"}`)
	p := open(t, b, 1280, s.between("POST /retry", nil))
	for end := time.Now().Add(10 * time.Minute); len(s.arrived("/gone")) < n && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
	}
	p.reads("h1", "One thing needs you")
	p.reads(".needs", "dying")
	p.reads(".needs", said+" dead")
	p.reads(".needs", "410")
	p.reads(routeRow("erp", "lost"), said)
	p.reads(".facts", said)
	p.shoot("dead")
	p.press(".needs", "Send "+said+" again")
	p.reads("dialog", said+" dead deliveries to erp would be sent again.")
	p.press("dialog", "Send "+said+" again")
	p.until("document.querySelector('dialog progress').value > 0")
	p.shoot("dead-progress")
	p.press("dialog", "Stop")
	p.reads("dialog", "Stopped.")
	made := s.had("POST /retry")
	if made < 2 || made > n/1000 { // one of them counted
		t.Errorf("%d requests before it was stopped", made)
	}
	time.Sleep(500 * time.Millisecond)
	if again := s.had("POST /retry"); again != made {
		t.Errorf("%d more requests after it was stopped", again-made)
	}
}

// A route paused, and one gone with deliveries held.
func testHeld(t *testing.T, b context.Context) {
	crm, stopped := table("crm", "ok", ""), table("stopped", "ok", "")
	s := start(t, &site{}, "", crm+stopped+table("old", "later", patient))
	s.sendMany(3, "old")
	s.post("/routes/stopped/pause", "application/json", "{}", &struct{}{})
	s.sendMany(2, "stopped")
	p := open(t, b, 1280, s.url)
	p.reads(routeRow("old", "wait"), "3")
	p.reads(routeRow("stopped", "health"), "paused")
	p.reads(routeRow("stopped", "wait"), "2")
	s.configure(crm + stopped)
	p.reads("h1", "One thing needs you")
	p.reads(".needs", "held")
	p.reads(".needs", "3 held")
	p.reads(routeRow("old", "health"), "held")
	p.reads(routeRow("old", "last"), "503")
	p.until("document.querySelector('.flag')") // the reload is marked
	p.shoot("held")
	p.click(".needs h3 a")
	p.reads("h1", "old held")
	p.shoot("held-route")
	p.reads("main", "The running config does not have it")
	p.is("history.back()")
	p.press(".needs", "Discard")
	p.reads("dialog", "3 held deliveries to old would be discarded")
	p.press("dialog", "Discard 3")
	p.reads("h1", "Nothing needs you")
	p.click(fmt.Sprintf(".routes tr[data-key=%q] a.open", "stopped"))
	p.reads("h1", "stopped paused")
	p.reads(".facts", "an operator")
	p.press(".delivery-head", "Resume")
	p.press("dialog", "Resume")
	p.reads("h1", "stopped ok")
	p.reads(".log tbody tr", "200")
}

// Twelve routes, and fifty after a reload, two of them alike but for the last letter of
// 63, on a desk, at twice the size, and on a phone.
func testRoutes(t *testing.T, b context.Context) {
	long := strings.Repeat("a-very-long-name-", 4)[:62]
	names := []string{long + "x", long + "y"}
	for i := range 48 {
		names = append(names, fmt.Sprintf("route-%02d", i))
	}
	config := func(names []string) (text string) {
		for _, name := range names {
			path := "ok"
			if name == "route-07" {
				path = "down"
			}
			text += table(name, path, `retry = { attempts = 9, first = "100ms", window = "1h" }`)
		}
		return text
	}
	s := start(t, &site{}, "", config(names[:12]))
	for _, name := range names[:12] {
		s.sendMany(6, name)
	}
	p := open(t, b, 1280, s.url)
	p.reads("h1", "One thing needs you")
	p.until("document.querySelectorAll('.routes tbody tr').length === 12")
	p.reads(".routes tbody tr", "route-07") // first, for it needs somebody
	p.shoot("routes-12")
	s.configure(config(names))
	p.press("main", "Show all 50 routes")
	p.until("document.querySelectorAll('.routes tbody tr').length === 50")
	for _, name := range names[:2] {
		p.reads(routeRow(name, "name"), name)
		p.reads(routeRow(name, "ok-1h"), "100 %")
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
	p.is("document.querySelector('.routes').scrollIntoView() || true")
	p.shoot("routes-390-table")
	p.do(chromedp.EmulateViewport(640, 450, chromedp.EmulateScale(2))) // 1280 at 200 %
	p.is("scrollTo(0, 0) || true")
	p.shoot("routes-200-percent")
}

// A sidecar that stands still: all is grey within six seconds, with the time.
func testFrozen(t *testing.T, b context.Context) {
	s := start(t, &site{child: true}, "", table("crm", "ok", ""))
	s.send(`{"signal_type":"crm"}`)
	p := open(t, b, 1280, s.url, "network Failed to load resource") // what timed out
	p.reads("h1", "Nothing needs you")
	p.reads("#age", "s old")
	p.is("(() => { let last = performance.now(); window.late = 0; setInterval(() => { const now = performance.now(); window.late = Math.max(window.late, now - last - 50); last = now }, 50); return true })()")
	s.pass(syscall.SIGSTOP)
	began := time.Now()
	p.until("document.body.classList.contains('stale')")
	// On a busy machine its ticks come late, once for each second or so.
	if d, late := time.Since(began), time.Duration(p.number("window.late")*float64(time.Millisecond)); d > 6*time.Second+6*late {
		t.Errorf("grey after %s, though its ticks came at most %s late", d, late)
	}
	p.reads("#age", "as of ")
	p.reads("#age", "no answer for")
	p.shoot("frozen")
	s.pass(syscall.SIGCONT)
	p.until("!document.body.classList.contains('stale')")
	s.send(`{"signal_type":"crm"}`)
	p.until(logRows + " === 2")
}

// Killed and started again: the last errors, what failed and what is counted are still there.
func testKilled(t *testing.T, b context.Context) {
	s := start(t, &site{child: true}, "", table("crm", "refused", patient)+table("slack", "ok", ""))
	s.sendMany(6, "crm")
	s.sendMany(4, "slack")
	p := open(t, b, 1280, s.url, "network Failed to load resource")
	p.reads(routeRow("crm", "health"), "refused")
	p.until(logRows + " === 10")
	s.pass(syscall.SIGKILL)
	p.until("document.body.classList.contains('stale')")
	p.reads(".live", "Connection lost")
	p.shoot("killed")
	s.stop()
	s.start()
	p.until("!document.body.classList.contains('stale')")
	p.do(chromedp.Reload())
	p.reads("h1", "One thing needs you")
	p.reads(routeRow("crm", "health"), "refused")
	p.reads(routeRow("crm", "last"), "401")
	p.reads(routeRow("slack", "last"), "delivered")
	p.reads(routeRow("crm", "wait"), "6")
	p.reads(".needs", "6 ×")
	p.reads(".readout", "4 delivered")
	p.reads(".readout", "6 failed attempts (4xx 6)")
	p.until(logRows + " === 10")
	p.shoot("killed-and-started")
}

// A delivery page that is read: what is selected, folded and scrolled stays so while
// attempts come, and a finished one is not asked for again.
func testReading(t *testing.T, b context.Context) {
	s := start(t, &site{}, "", table("third", "third", `retry = { attempts = 4, first = "4s", window = "30s" }
transform = '{ company: .account.name, kind: .signal_type }'
headers = { X-Api-Key = "never-shown-key" }`))
	id := s.send(`{"signal_type":"third","account":{"name":"Acme Corp","domain":"acme.com"},"events":["a","b"]}`)[0]
	p := open(t, b, 1280, s.between("", nil)+"/?view=delivery&id="+id)
	p.reads(".response", "try later")
	p.is("(() => { getSelection().selectAllChildren([...document.querySelectorAll('.response')].at(-1)); window.kept = document.querySelector('.body .code'); document.querySelector('.body details details').open = false; scrollTo(0, 200); return true })()")
	p.reads(".state-line", "Delivered after 3 attempts")
	p.until("[...document.querySelectorAll('mark')].some((m) => m.innerText === ', please')") // what differs from the answer before
	if got := eval[string](p, "JSON.stringify([getSelection().toString(), window.kept === document.querySelector('.body .code'), document.querySelector('.body details details').open, scrollY])"); got != `["try later",true,false,200]` {
		t.Errorf("what was selected, folded or scrolled did not stay: %s", got)
	}
	p.write(".find-json", "acme.com")
	p.reads(".find-line", "1 line")
	p.until("document.querySelector('.ln.hit') && document.querySelector('.body details details').open") // what is found is unfolded
	p.shoot("reading")
	asked := "GET /deliveries/" + id
	n := s.had(asked)
	if n > 9 {
		t.Errorf("one that waits for 15 s was asked for %d times", n)
	}
	time.Sleep(whole(time.Minute, 6*time.Second))
	if again := s.had(asked) - n; again != 0 {
		t.Errorf("a finished one was asked for %d times", again)
	}
	p.is("(() => { navigator.clipboard.writeText = async (t) => { window.copied = t }; return true })()")
	p.press(".panel-head", "Copy as curl")
	p.until(`window.copied?.includes('"$THIRD_URL"') && window.copied.includes("-H 'X-Api-Key: '\"$X_API_KEY\"")`)
	p.press(".panel-head", "Copy verify")
	p.until(`window.copied?.includes("signalpost verify")`)
}

// A request of another form than JSON to its URL: its body is text as it was sent, with
// placeholders for params, its path and query are shown but for the URL's own.
func testRequest(t *testing.T, b context.Context) {
	s := start(t, &site{}, "", table("sms", "ok/never-shown-path?never-shown-key", `method = "PUT"
compression = "gzip"
format = "form"
params = { key = "never-shown-key" }
transform = '{ To: "+1", Body: "a & b", Key: $params.key }'
path = '"/messages/\(.signal_type)"'
query = "{ n: 1 }"`))
	id := s.send(`{"signal_type":"sms"}`)[0]
	typed := make(chan struct{})
	late := s.between("", func(path string, body []byte) []byte {
		if path == "/status" {
			<-typed // so long the page knows of no route
		}
		return body
	})
	p := open(t, b, 1280, s.url+"/?view=delivery&id="+id)
	p.reads(".request-line", "/[secret]/messages/sms?[secret]&n=1")
	p.reads(".request-line", "PUT http://")
	p.reads("[data-key='Body, as sent']", "As form.")
	p.reads("[data-key='Body, as sent'] .code", "Body=a+%26+b&Key=param")
	p.is("(() => { navigator.clipboard.writeText = async (t) => { window.copied = t }; return true })()")
	p.press(".panel-head", "Copy as curl")
	p.until(`window.copied?.includes("/'\"$SMS_URL\"'/messages/sms?'\"$SMS_URL\"'&n=1'") && window.copied.includes("--data-binary 'Body=a+%26+b&Key=param") && !/content-encoding/i.test(window.copied)`)
	if text := p.text("body"); strings.Contains(text, "never-shown") {
		t.Errorf("a secret is shown: %s", text)
	}
	p.do(chromedp.Navigate(late + "/?view=playground&route=sms&type=sms"))
	p.write("#try-signal", `{"signal_type":"sms"}`)
	close(typed)
	p.reads(".trial .code", "Body=a+%26+b&Key=param03key&To=%2B1")
	p.reads(".trial", "/[secret]/messages/sms?[secret]&n=1")
}

// A busy route beside a quiet one: thirty signals a second, all of them in the one's
// chart, none in the other's.
func testFlood(t *testing.T, b context.Context) {
	s := start(t, &site{}, "", table("busy", "ok", "")+table("quiet", "quiet", ""))
	p := open(t, b, 1280, s.url)
	s.send(`{"signal_type":"quiet"}`)
	n := 0
	beat := time.NewTicker(time.Second / 10)
	defer beat.Stop()
	for end := time.Now().Add(whole(3*time.Minute, 5*time.Second)); time.Now().Before(end); <-beat.C {
		s.sendMany(3, "busy")
		n += 3
	}
	said := fmt.Sprint(n)
	if n > 999 {
		said = fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	for end := time.Now().Add(patience); len(s.arrived("/ok")) < n && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
	}
	p.until(fmt.Sprintf("document.querySelector(%q) && document.querySelector(%q)", routeRow("busy", "spark path.good"), routeRow("quiet", "spark path.good")))
	p.shoot("flood")
	for name, count := range map[string]string{"busy": said, "quiet": "1"} {
		p.do(chromedp.Navigate(s.url + "/?view=route&name=" + name))
		p.reads(".readout", count+" delivered (")
		p.reads(".panel-head", "100 % of "+count+" attempt")
		p.shoot("flood-" + name)
	}
}

// Charts: what is unknown, the scale, the keys, the same scale, a stretch that is selected.
func testCharts(t *testing.T, b context.Context) {
	s := start(t, &site{}, "", table("busy", "ok", "")+table("quiet", "later", patient))
	s.sendMany(200, "busy")
	s.sendMany(3, "quiet")
	p := open(t, b, 1280, s.url)
	p.reads(".readout", "200 delivered")
	p.reads(".readout", "3 failed attempts (5xx 3)")
	p.reads(".plot", "unknown")
	p.reads(".plot", "/s") // the gridline
	p.until(fmt.Sprintf("document.querySelector(%q) && document.querySelector(%q)", routeRow("busy", "spark path.good"), routeRow("quiet", "spark path.fails")))
	p.is("document.querySelector('.chart').focus() || true")
	p.keys(kb.Home)
	p.reads(".readout", "unknown")
	p.keys(kb.End)
	shift := chromedp.KeyEvent(kb.ArrowLeft, chromedp.KeyModifiers(chromedp.ModifierShift))
	p.do(shift, shift)
	p.reads(".readout", "200 delivered")
	p.until("document.querySelector('.chart').getAttribute('aria-valuetext').includes('200 delivered')")
	p.keys(kb.Enter)
	p.until("new URLSearchParams(location.search).get('from')")
	p.reads(".readout", "200 delivered")
	p.press(".segments", "selected")
	p.until("!location.search")
	high := fmt.Sprintf("document.querySelector(%q).getBBox().height", routeRow("quiet", "spark path.fails"))
	p.until(fmt.Sprintf("document.querySelector(%q)", routeRow("quiet", "spark path.fails")))
	before := p.number(high)
	p.click(".panel-head input[type=checkbox]")
	p.until(fmt.Sprintf("%s < %v / 5", high, before))
	p.shoot("charts")
	p.do(chromedp.Navigate(s.url + "/?view=route&name=busy"))
	p.reads("figure:nth-of-type(2) .readout", "half within")
	p.shoot("charts-route")
}

// Two tabs share one stream.
func testTabs(t *testing.T, b context.Context) {
	s := newSite(t, "", "")
	at := s.between("", nil)
	p := open(t, b, 1280, at)
	p.reads(".live", "Live")
	q := open(t, b, 1280, at)
	q.reads(".live", "Live")
	s.send(lead)
	p.until(logRows + " === 1")
	q.until(logRows + " === 1")
	if n := s.had("GET /log?follow=true"); n != 1 {
		t.Errorf("two tabs follow the log %d times", n)
	}
	p.do(chromedp.Navigate("about:blank")) // the one that led goes
	p.until("location.href === 'about:blank'")
	for end := time.Now().Add(patience); s.had("GET /log?follow=true") < 2 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
	}
	s.send(lead)
	q.until(logRows + " === 2")
}

// A browser whose clock is an hour behind is corrected by the answers.
func testClock(t *testing.T, b context.Context) {
	s := newSite(t, "", "")
	s.send(lead)
	p := open(t, b, 1280, s.between("", func(path string, body []byte) []byte {
		if path != "/assets/clock.js" {
			return body
		}
		return append([]byte("const right = Date.now;\nDate.now = () => right() - 3600e3;\n"), body...)
	}))
	p.until(fmt.Sprintf(`document.querySelector(%q)?.innerText.match(/delivered (just now|\d+ s ago)/)`, routeRow("crm", "last")))
	p.reads(".readout", "1 delivered")
	p.pick("select[name=zone]", "UTC")
	p.until("document.querySelector('.log time').innerText === document.querySelector('.log time').dateTime.slice(11, 19)")
}

// What is no view is the overview, whatever objects are made of.
func testViews(t *testing.T, b context.Context) {
	at := newSite(t, "", "").url
	p := open(t, b, 1280, at)
	for _, view := range []string{"constructor", "__proto__", "toString", "nothing"} {
		p.do(chromedp.Navigate(at + "/?view=" + view + "&range=constructor"))
		p.reads("h1", "Nothing needs you")
	}
	p.do(chromedp.Navigate(at + "/?view=route&name=nothing"))
	p.reads("main", "There is no route of this name")
}

// A delivery beside the list: the list stays where it is, j and k go through it, each
// step can be gone back, and where there is no room it is a page.
func testBeside(t *testing.T, b context.Context) {
	s := newSite(t, "", "")
	for i := range 42 {
		s.send(fmt.Sprintf(`{"signal_type":"lead_%02d","confidence":0.9}`, 41-i))
	}
	p := open(t, b, 1400, s.url)
	p.until(logRows + " === 42")
	row := func(n int, does string) {
		p.is(fmt.Sprintf("[...document.querySelectorAll('.log tbody tr')].find((r) => r.innerText.includes('lead_%02d')).querySelector('a[data-row]').%s() || true", n, does))
	}
	row(8, "focus")
	second := eval[string](p, "document.activeElement.closest('tr').nextElementSibling.querySelector('.type').innerText")
	p.keys(kb.Enter)
	p.reads(".side h1", "lead_08 to crm")
	p.keys("j")
	p.reads(".side h1", second+" to crm")
	if y := p.number("scrollY"); y == 0 {
		t.Error("the list did not stay where it was")
	}
	if p.is("document.documentElement.scrollWidth > 1400") {
		t.Error("it is wider than the screen")
	}
	p.shoot("beside")
	row(3, "click")
	p.reads(".side h1", "lead_03 to crm")
	p.is("history.back()")
	p.reads(".side h1", second+" to crm")
	p.keys(kb.Enter) // where it is: the row has the focus
	p.until("document.activeElement.id === 'side'")
	p.click(".side .back a")
	p.until("document.querySelector('.side').hidden && !location.search")
	p.until("document.activeElement.dataset.row")
	p.do(chromedp.EmulateViewport(800, 900))
	row(3, "click")
	p.reads("main h1", "lead_03 to crm")
}

// A fleet's sidecars and ledgers, while one is adopted; without a fleet, nothing of it.
func testFleet(t *testing.T, b context.Context) {
	s := newScene("crm")
	p := open(t, b, 1280, s.start(t))
	p.reads("h1", "Nothing needs you")
	p.reads(".routes", "crm")
	if !p.is("document.querySelector('.panel[data-key=fleet]').hidden") {
		t.Error("a fleet is shown where there is none")
	}
	status := object{"node": "NODE-A", "nodes": object{"NODE-A": "app-7", "NODE-B": "app-8"}, "ledgers": 1, "adoptions": 0, "deposed": 0, "ownerless": []string{"LEDGER-C"},
		"owners": object{"LEDGER-A": object{"node": "NODE-A", "own": true}, "LEDGER-B": object{"node": "NODE-B", "own": true}}}
	s.fleet.Store(&status)
	p.reads("#fleet-title", "Fleet 2")
	p.reads(".fleet tr[data-key=LEDGER-C]", "nobody\tLEDGER-C\tnot yet")
	p.reads(".fleet tr[data-key=NODE-A]", "app-7 this one\tLEDGER-A")
	p.shoot("fleet")
	adopted := maps.Clone(status)
	adopted["missing"] = []string{"app-9 (NODE-X)", "ledger LEDGER-C, which nobody has now"}
	adopted["owners"] = object{"LEDGER-A": object{"node": "NODE-A", "own": true}, "LEDGER-B": object{"node": "NODE-B", "own": true}, "LEDGER-C": object{"node": "NODE-B", "own": false}}
	s.fleet.Store(&adopted)
	p.reads(".fleet tr[data-key=NODE-B]", "app-8\tLEDGER-B\tLEDGER-C")
	p.reads(".fleet tbody tr", "no answer\tapp-9 (NODE-X)\tis not shown")
	p.until("!document.querySelector('.fleet tr[data-key=LEDGER-C]')")
}

// What takes hours and weeks, of a sidecar that only seems to be: the ranges of the charts
// with what is unknown before, pauses and what is held for hours, the sidecar's own reasons.
func testWeeks(t *testing.T, b context.Context) {
	s := newScene("slack", "crm", "old", "stopped")
	for i := range 12 {
		s.attempt(i, "crm", "product_qualified_lead", time.Duration(60-i)*time.Second, nil)
	}
	r := s.ails("old", "warn", "held", "3 deliveries are held: put the route back, or discard them", 3*time.Hour)
	r["state"], r["held"], r["target"], r["where"], r["transform"], r["schedule"], r["limits"] = "gone", 3, nil, nil, nil, nil, nil
	r = s.ails("stopped", "warn", "paused", "paused for more than an hour; resume it", 95*time.Minute)
	r["state"], r["pending"], r["paused_by"] = "paused", 210, []string{"api"}
	s.own = []object{{"route": "", "code": "not_accepting", "text": "signals are refused: the store is full; raise queue.max_size", "since": back(2 * time.Minute)}}
	s.problems = []object{{"route": "crm", "class": "timeout", "status": 0, "error": "no answer within 15s", "count": 4, "first": back(5 * time.Hour), "last": back(2 * time.Hour), "pending": 0, "dead": 0, "sample": "dlv_01K00000000000000000000000"}}
	at := s.start(t)
	p := open(t, b, 1280, at)
	p.reads("h1", "3 things need you")
	p.reads(".needs li", "not accepting") // worst first
	p.until("document.querySelector('.needs li').className === 'level-bad'")
	p.reads(".needs", "1 h 35 min")
	p.reads(".needs", "3 held")
	p.reads(".problems", "1 failure of the last 24 hours: no action needed")
	p.reads(routeRow("stopped", "wait"), "210")
	p.reads(routeRow("slack", "ok-30d"), "99.9 %")
	p.shoot("weeks")
	for _, r := range []struct{ name, unknown string }{{"24h", ""}, {"7d", ""}, {"30d", "unknown"}} {
		p.press(".segments", r.name)
		p.until(fmt.Sprintf("document.querySelector('.segments [aria-pressed=true]').innerText === %q && document.querySelector('.plot path.good')", r.name))
		p.reads(".readout", "delivered (")
		if r.unknown != "" {
			p.reads(".plot", r.unknown)
		}
		p.shoot("weeks-" + r.name)
	}
	p.do(chromedp.EmulateViewport(390, 844))
	p.until("document.documentElement.scrollWidth <= 390")
	p.shoot("weeks-phone")
	p.is("(document.documentElement.style.colorScheme = 'dark')")
	p.do(chromedp.EmulateViewport(1280, 900))
	p.shoot("weeks-dark")
}

// TestScreenshot takes the README's picture, of a sidecar that has run for as long as
// DASHBOARD_SCREENSHOT says, at least four minutes.
func TestScreenshot(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("DASHBOARD_SCREENSHOT"))
	if err != nil {
		t.Skip("DASHBOARD_SCREENSHOT is no duration")
	}
	names := []string{"slack", "crm", "warehouse", "erp", "partner-eu", "newsletter"}
	var config string
	for _, name := range names {
		config += fmt.Sprintf("[[route]]\nname = %q\nurl = \"RECEIVER/%s\"\nwhere = \".to | index(\\\"%s\\\")\"\n", name, name, name)
	}
	s := start(t, &site{}, "", config)
	began, edited := time.Now(), false
	for i := 0; time.Since(began) < length; i++ {
		left, rate := length-time.Since(began), 6+3*math.Sin(time.Since(began).Seconds()/70)
		switch {
		case left < 40*time.Second:
			s.answer("/erp", http.StatusGone)
		case left < 100*time.Second:
			s.answer("/partner-eu", http.StatusServiceUnavailable)
		case left < length/2 && !edited:
			edited = true
			s.configure(config + "concurrency = 4\n")
		}
		to := names[i%3]
		if i%4 == 0 {
			to += " " + names[3+i/4%3]
		}
		kind := []string{"product_qualified_lead", "expansion_signal", "churn_risk"}[i%7%3]
		s.send(fmt.Sprintf(`{"signal_type":%q,"confidence":0.92,"source":"posthog","to":%q,"account":{"name":"Acme Corp","domain":"acme.com"}}`, kind, to))
		time.Sleep(time.Duration(float64(time.Second) / rate))
	}
	p := open(t, browser(t), 1280, s.between("", func(path string, body []byte) []byte {
		if path != "/status" {
			return body
		}
		host := regexp.MustCompile(`"host":"[^"]*"`).ReplaceAll(body, []byte(`"host":"app-7"`))
		return regexp.MustCompile(`http://127.0.0.1:\d+`).ReplaceAll(host, []byte("https://hooks.example.com"))
	})+"/?range=15m")
	p.reads("h1", "2 things need you")
	p.reads(".needs", "erp")
	time.Sleep(3 * time.Second)
	png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile("screenshot.png", png, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// testAxe has axe-core, which CI has one of, find nothing.
func testAxe(scheme string) func(*testing.T, context.Context) {
	return func(t *testing.T, b context.Context) {
		path := os.Getenv("DASHBOARD_AXE")
		if path == "" {
			if os.Getenv("CI") != "" {
				t.Fatal("DASHBOARD_AXE names no axe.min.js")
			}
			t.Skip("DASHBOARD_AXE names no axe.min.js")
		}
		axe, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := start(t, &site{}, "", table("erp", "gone", "")+table("crm", "refused", patient)+table("down", "down", `retry = { attempts = 9, first = "100ms", window = "1h" }`))
		for range 6 {
			s.send(`{"signal_type":"erp"}`)
			s.send(`{"signal_type":"down"}`)
		}
		id := s.send(`{"signal_type":"crm"}`)[0]
		p := open(t, b, 1280, "about:blank")
		for _, view := range []string{"", "q=verdict:failed", "view=deliveries", "look=" + id, "view=delivery&id=" + id, "view=route&name=erp", "view=playground"} {
			p.do(chromedp.Navigate(s.url + "/?" + view))
			p.is(fmt.Sprintf("(document.documentElement.style.colorScheme = %q)", scheme))
			p.until("document.querySelector('.log tbody tr, .deliveries tbody tr, .attempts-list li, .trial')")
			time.Sleep(time.Second)
			p.shoot("axe-" + scheme + "-" + strings.NewReplacer("=", "-", "&", "-", id, "").Replace(view))
			p.is("(() => {" + string(axe) + "\nreturn true })()")
			found := ""
			for range 3 { // what is grey for a moment, on a machine that does much else, is too pale
				p.until("!document.body.classList.contains('stale')")
				p.is("axe.run({ resultTypes: ['violations'] }).then((r) => { window.found = JSON.stringify(r.violations.map((v) => [v.id, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + ' ' + n.failureSummary)]), null, 1) }) && (window.found = '', true)")
				p.until("window.found")
				if found = eval[string](p, "window.found"); found == "[]" {
					break
				}
			}
			if found != "[]" {
				t.Errorf("%s %s: %s", scheme, view, found)
			}
		}
	}
}
