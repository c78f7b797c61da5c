package dashboard_test

// The dashboard as people meet it: a real sidecar, a real receiver, a real
// browser. What can be tested without a browser is in dashboard_test.go.

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// hostile is text that must never become part of the page.
const hostile = `<script>window.pwned=1</script><img src=x onerror="window.pwned=1"><b>bold</b>`

const routes = `
[[route]]
name = "crm"
url = "RECEIVER/crm/hidden-path"
signal_types = ["lead*"]
where = ".confidence >= 0.5"
transform = '{ company: .account.name, score: .confidence, digits: .digits }'
headers = { X-Team = "growth", X-Api-Key = { env = "DASHBOARD_TEST_KEY" } }

[[route]]
name = "gone"
url = "RECEIVER/gone"
signal_types = ["gone*"]

[[route]]
name = "later"
url = "RECEIVER/later"
signal_types = ["later"]
retry = { attempts = 5, first = "1h", window = "24h" }

[[route]]
name = "split"
url = "RECEIVER/later"
signal_types = ["split"]
transform = "{ part: 1 }, { part: 2 }"
retry = { attempts = 5, first = "1h", window = "24h" }

[[route]]
name = "down"
url = "RECEIVER/down"
signal_types = ["down"]
retry = { attempts = 9, first = "100ms", window = "1h" }
`

const lead = `{"signal_type":"lead","confidence":0.92,"digits":12345678901234567890.10,"account":{"name":"Acme <b>Corp</b>"}}`

func TestBrowser(t *testing.T) {
	t.Setenv("DASHBOARD_TEST_KEY", "never-shown-key")
	b := browser(t)
	for name, test := range map[string]func(*testing.T, context.Context){
		"live": testLive, "filter": testFilter, "delivery": testDelivery, "discard": testDiscard, "many": testMany, "pause": testPause,
		"playground": testPlayground, "token": testToken, "phone": testPhone, "keys": testKeys, "verdict": testVerdict, "restart": testRestart,
		"killed": testKilled, "refused": testRefused, "dead": testDead, "held": testHeld, "routes": testRoutes, "frozen": testFrozen, "reading": testReading,
		"charts": testCharts, "tabs": testTabs, "clock": testClock, "flood": testFlood, "views": testViews, "beside": testBeside, "weeks": testWeeks, "axe": testAxe("light"), "axe in the dark": testAxe("dark"), "request": testRequest, "fleet": testFleet,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, b)
		})
	}
}

const logRows = "document.querySelectorAll('.log tbody tr').length"

// routeRow is the row of a route in the table.
func routeRow(name, cell string) string {
	return fmt.Sprintf(".routes tr[data-key=%q] .%s", name, cell)
}

func testLive(t *testing.T, b context.Context) {
	s := newSite(t, "", "")
	p := open(t, b, 1280, s.url)
	p.reads("h1", "Nothing needs you")
	p.reads("#verdict", "All well")
	p.reads("main", "No attempt has been made yet")
	p.reads(".live", "Live")
	p.reads("#age", "s old")
	s.send(lead)
	p.reads(".log tbody tr", "crm")
	p.reads(".log tbody tr", "200")
	s.send(`{"signal_type":"gone <img src=x onerror=window.pwned=1>"}`)
	p.reads(".log tbody tr", "gone <img src=x onerror=window.pwned=1>")
	p.reads(".log tbody tr", "The answer says not to try again")
	p.reads("#said", "crm, delivered, status 200")
	p.reads(routeRow("crm", "ok-1h"), "100 %")
	p.until(fmt.Sprintf("document.querySelector(%q)", routeRow("crm", "spark path.good")))
	p.reads(routeRow("gone", "lost"), "1")
	p.reads(".problems", "410")
	p.reads(".problems", "1 dead")

	// Paused, rows wait; let go, they come.
	p.press("main", "Live")
	s.send(lead)
	p.reads(".live", "1 new")
	if n := p.number(logRows); n != 2 {
		t.Errorf("%v rows while held still; want 2", n)
	}
	p.press("main", "Paused")
	p.until(logRows + " === 3")

	// All of it is there again when the page is.
	p.do(chromedp.Reload())
	p.until(logRows + " === 3")
	p.reads(".panel:last-child .under", "That is all")
}

func testFilter(t *testing.T, b context.Context) {
	s := newSite(t, "", "")
	made := s.send(lead)
	s.send(`{"signal_type":"gone"}`)
	p := open(t, b, 1280, s.between("", nil))
	p.until(logRows + " === 2")
	p.write("input.filter", "-verdict:delivered")
	p.until(logRows + " === 1 && document.querySelector('.log tbody').innerText.includes('gone')")
	if got := p.param("q"); got != "-verdict:delivered" {
		t.Errorf("the URL lacks the filter: %q", got)
	}
	if s.had("GET /log?verdict=retry%2Cdead&") == 0 {
		t.Error("the sidecar is not asked for the other verdicts")
	}
	s.send(lead) // does not match
	s.send(`{"signal_type":"gone"}`)
	p.until(logRows + " === 2 && !document.querySelector('.log tbody').innerText.includes('crm')")
	p.do(chromedp.Reload())
	p.until(logRows + " === 2 && document.querySelector('input.filter').value === '-verdict:delivered'")
	p.press(".filters", "Clear")
	p.until(logRows + " === 4 && location.search === ''")
	p.is("history.back()")
	p.until(logRows + " === 2 && document.querySelector('input.filter').value === '-verdict:delivered'")
	p.press(".filters", "Clear")
	p.write("input.filter", made[0])
	p.until(logRows + " === 1")

	// A value that is clicked is added, and is a step one can go back.
	p.press(".filters", "Clear")
	p.until(logRows + " === 4")
	p.is("[...document.querySelectorAll('.log td.route a')].find((a) => a.innerText === 'gone').click() || true")
	p.until(logRows + " === 2 && document.querySelector('input.filter').value === 'route:gone'")
	p.is("document.querySelector('.log td.answer a').click() || true")
	p.until("document.querySelector('input.filter').value === 'route:gone status:410'")
	p.is("history.back()")
	p.until("document.querySelector('input.filter').value === 'route:gone'")

	// Words and values are suggested.
	p.write("input.filter", "sta")
	p.reads(".offers", "status:")
	p.keys(kb.ArrowDown + kb.Tab)
	p.reads(".offers", "status:5xx")
	p.keys("410" + kb.Enter)
	p.until(logRows + " === 2 && new URLSearchParams(location.search).get('q') === 'status:410'")
	p.write("input.filter", "status:5xx")
	p.reads(".log + .under", "Nothing in the log matches")
	p.write("input.filter", "ro")
	p.keys(kb.ArrowDown + kb.Tab + "cr" + kb.ArrowDown + kb.Tab)
	p.until(logRows + " === 2 && document.querySelector('input.filter').value.trim() === 'route:crm'")
	p.write("input.filter", "state:dead")
	p.reads(".field-fault", "state:")
	p.write("input.filter", "-since:1h")
	p.reads(".field-fault", "without the minus")

	// What the API cannot leave out the page does, and says how far back it has looked.
	for range 55 {
		s.send(lead)
	}
	p.write("input.filter", "-route:crm")
	p.reads(".log + .under", "Searched back to")
	p.press(".under", "Search further back")
	p.until(logRows + " === 2 && document.querySelector('.log tbody').innerText.includes('gone')")
	p.write("input.filter", "status:2xx,410 -route:crm since:1h until:0s type:g*")
	p.until(logRows + " === 2")
	p.do(chromedp.Navigate(s.url + "/?view=deliveries&q=body:12345678901234567890+-route:nothing"))
	p.until("document.querySelectorAll('.deliveries tbody tr').length === 57")
	p.write("input.filter", `body:"no such text"`)
	p.reads(".deliveries + .under", "No delivery matches")
}

func testDelivery(t *testing.T, b context.Context) {
	s := newSite(t, "", "")
	id := s.send(lead)[0]
	p := open(t, b, 1280, s.url)
	p.until("document.querySelector('.log tbody tr')")
	p.click(".log tbody tr td.what") // the whole row is a link
	p.reads(".side h1", "lead to crm")
	if got := p.param("look"); got != id {
		t.Errorf("the URL has the id %q, want %q", got, id)
	}
	p.click(".side .whole-id a")
	p.reads("h1", "lead to crm")
	if got := p.param("id"); got != id {
		t.Errorf("the URL has the id %q, want %q", got, id)
	}
	p.reads(".side-by-side .body:nth-child(1)", `"digits": 12345678901234567890.10`)
	p.reads(".side-by-side .body:nth-child(1)", `"Acme <b>Corp</b>"`)
	p.reads(".side-by-side .body:nth-child(2)", `"digits": 12345678901234567890.10`)
	p.reads(".side-by-side .body:nth-child(2)", `"score": 0.92`)
	p.reads(".side-by-side .body:nth-child(2)", "from .account.name")
	p.reads(".headers", "X-Api-Key\t[secret]")
	p.reads(".headers", id)
	p.reads(".panel-head", "Request, as it was sent")
	if text := p.text("body"); strings.Contains(text, "never-shown-key") || strings.Contains(text, "hidden-path") {
		t.Errorf("a secret is shown:\n%s", text)
	}
	p.reads(".attempts-list", "Attempt 1")
	p.shoot("delivery")

	p.press(".delivery-head", "Send again")
	p.reads("dialog", "with the same webhook-id")
	p.press("dialog", "Send again")
	p.reads(".attempts-list", "Attempt 2")
	p.until("!document.querySelector('dialog')")
	if got := s.arrived("/crm/hidden-path"); len(got) != 2 || got[0] != id || got[1] != id {
		t.Errorf("the receiver got %v", got)
	}
	p.press(".delivery-head", "Reshape")
	p.until("document.querySelector('dialog input[value=new]').checked")
	p.press("dialog", "Send again")
	p.reads(".attempts-list", "Attempt 3")
	p.is("history.back()")
	p.until(logRows + " === 3")

	// What a receiver answers is text.
	gone := s.send(`{"signal_type":"gone","note":"</pre><script>window.pwned=1</script>"}`)[0]
	p.do(chromedp.Navigate(s.url + "/?view=delivery&id=" + gone))
	p.reads(".response", hostile)
	p.reads(".state-line", "The answer says not to try again")
	p.reads(".body", "</pre><script>window.pwned=1</script>")
	if n := p.number("document.querySelectorAll('.response *, .code b, .code img, .code script').length"); n != 0 {
		t.Errorf("%v elements in what the receiver answered", n)
	}

	p.do(chromedp.Navigate(s.url + "/?view=delivery&id=dlv_nothing"))
	p.reads("main", "There is no such delivery")
	p.allow("network Failed to load resource: the server responded with a status of 404")
}

func testDiscard(t *testing.T, b context.Context) {
	s := newSite(t, "", "")
	id := s.send(`{"signal_type":"later"}`)[0]
	p := open(t, b, 1280, s.url+"/?view=delivery&id="+id)
	p.reads(".attempts-list", "Attempt 2") // the next one
	p.reads(".state-line", "Next attempt in")
	p.press(".delivery-head", "Discard")
	p.reads("dialog", "nothing further is sent")
	p.keys(kb.Escape)
	p.until("!document.querySelector('dialog')")
	p.reads(".state-line", "pending")
	p.press(".delivery-head", "Discard")
	p.press("dialog", "Discard")
	p.reads(".state-line", "Discarded")
	p.reads(".notices", "Discarded.")
	if n := len(s.arrived("/later")); n != 1 {
		t.Errorf("the receiver got %d requests, want 1", n)
	}

	// The one alone, though its twin was made by the same signal for the same route.
	parts := s.send(`{"signal_type":"split"}`)
	p.do(chromedp.Navigate(s.url + "/?view=delivery&id=" + parts[1]))
	p.reads(".body:nth-child(2)", `"part": 2`)
	p.reads(".state-line", "Next attempt in")
	p.press(".delivery-head", "Discard")
	p.press("dialog", "Discard")
	p.reads(".state-line", "Discarded")
	p.do(chromedp.Navigate(s.url + "/?view=delivery&id=" + parts[0]))
	p.reads(".state-line", "Next attempt in")
}

func testMany(t *testing.T, b context.Context) {
	s := newSite(t, "", "")
	for range 3 {
		s.send(`{"signal_type":"gone"}`)
	}
	id := s.send(`{"signal_type":"later"}`)[0]
	p := open(t, b, 1280, s.url+"/?view=deliveries")
	rows := "document.querySelectorAll('.deliveries tbody tr').length"
	p.until(rows + " === 4")
	p.write("input.filter", "state:dead")
	p.until(rows + " === 3")
	p.press(".bulk", "Send these again")
	p.reads("dialog", "3 dead deliveries would be sent again.")
	if n := len(s.arrived("/gone")); n != 3 {
		t.Errorf("the receiver got %d requests before it was confirmed", n)
	}
	p.press("dialog", "Send 3 again")
	p.reads(".notices", "3 deliveries due now.")
	for end := time.Now().Add(patience); len(s.arrived("/gone")) < 6 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
	}
	time.Sleep(300 * time.Millisecond) // what was waiting while the list was read again is dead by now
	p.do(chromedp.Reload())
	p.until(rows + " === 3")
	p.until("[...document.querySelectorAll('.deliveries td.attempts')].every((c) => c.textContent === '2')")

	// Some of them, chosen one by one.
	p.until("document.querySelectorAll('.deliveries td.pick input').length === 3")
	p.is("[...document.querySelectorAll('.deliveries td.pick input')].slice(1).forEach((c) => c.click()) || true")
	p.reads(".chosen", "2 deliveries selected")
	p.press(".chosen", "Send again")
	p.press("dialog", "Send 2 again")
	p.reads(".notices", "2 deliveries due now.")
	p.until("document.querySelector('.chosen').hidden")
	for end := time.Now().Add(patience); len(s.arrived("/gone")) < 8 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
	}
	p.until("[...document.querySelectorAll('.deliveries td.attempts')].map((c) => c.textContent).sort().join() === '2,3,3'")

	p.write("input.filter", "state:pending")
	p.until(rows + " === 1")
	p.press(".bulk", "Discard these")
	p.reads("dialog", "1 pending delivery would be discarded.")
	p.press("dialog", "Discard 1")
	p.reads(".deliveries + .under", "No delivery matches")
	p.do(chromedp.KeyEvent("k", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	p.until("document.querySelector('dialog.palette input')")
	p.keys(id + kb.Enter)
	p.reads("h1", "later to later")
	p.reads(".state-line", "Discarded")
}

func testPause(t *testing.T, b context.Context) {
	s := newSite(t, "", "")
	p := open(t, b, 1280, s.url+"/?view=route&name=crm")
	p.reads(".config", ".confidence >= 0.5")
	p.press(".delivery-head", "Pause")
	p.reads("dialog", "Pause crm?")
	p.press("dialog", "Pause")
	p.reads("h1 .badge", "paused")
	p.reads(".facts", "an operator")
	s.send(lead)
	p.until(`document.querySelector(".facts").innerText.match(/Waiting\s+1/)`)
	p.press(".delivery-head", "Resume")
	p.reads("dialog", "1 delivery waiting for crm")
	p.press("dialog", "Resume")
	p.reads("h1 .badge", "ok")
	p.reads(".log tbody tr", "200")
}

func testPlayground(t *testing.T, b context.Context) {
	s := newSite(t, "", "")
	s.send(lead)
	s.send(`{"signal_type":"lead","confidence":0.1}`)
	p := open(t, b, 1280, s.url+"/?view=playground", "network Failed to load resource: the server responded with a status of 422")
	p.until("document.querySelector('#try-where')?.value === '.confidence >= 0.5'") // what runs, of the first route
	p.until("document.querySelector('#try-transform').value.includes('.account.name')")
	p.reads(".trial", "does not match") // the sample's type is another
	p.reads("section[data-key=trials]", "1 pass, 0 would change")
	p.until("document.querySelector('select[name=recorded]').options.length === 3")
	p.is("(() => { const s = document.querySelector('select[name=recorded]'); s.value = s.options[2].value; s.dispatchEvent(new Event('change')); return true })()")
	p.reads(".trial", `"company": "Acme <b>Corp</b>"`)
	p.reads(".trial", `12345678901234567890.10`)
	p.until("new URLSearchParams(location.search).get('signal')")
	p.write("#try-where", ".confidence > 0.95")
	p.reads(".trial", "does not match")
	p.reads("section[data-key=trials]", "0 pass (1 with the running config), 1 would change")
	p.press("section[data-key=plan]", "Plan on the last 1,000 signals")
	p.reads("section[data-key=plan]", "2 signals: 1 → 0 deliveries +0 −1.")
	p.reads("section[data-key=plan] a", "sig_")
	p.write("#try-where", ".confidence > 0")
	p.until("document.querySelector('section[data-key=plan] .stale')")
	p.reads("section[data-key=trials]", "2 pass (1 with the running config), 1 would change")
	p.write("#try-transform", "{ name: .account.name, twice: (.confidence * 2) }")
	p.reads(".trial", `"twice": 1.84`)
	p.reads("section[data-key=trials]", "2 would change")
	p.press("section[data-key=plan]", "Plan on the last 1,000 signals")
	p.reads("section[data-key=plan]", ".twice: nothing → 1.84, 1 of 1")
	p.until("!document.querySelector('section[data-key=plan] .stale')")
	p.do(chromedp.Reload()) // what was typed is kept
	p.until("document.querySelector('#try-transform')?.value.includes('twice')")
	p.write("#try-transform", "{ name: ")
	p.reads(".trial", "transform:")
	p.reads(".trial .badge", "error")
	p.press("section[data-key=plan]", "Plan on the last 1,000 signals")
	p.reads("section[data-key=plan]", "This cannot be planned")
	p.write("#try-transform", "range(3)")
	p.reads(".trial", "3 results")
	p.write("#try-signal", `{"signal_type":`)
	p.reads(".field-fault", "This is not JSON yet")
	p.write("#try-signal", `[{"signal_type":"lead"}]`)
	p.reads(".field-fault", "This is a list of 1")
	p.write("#try-signal", `12`)
	p.reads(".field-fault", "This is a number")
	p.press(".expression", "Reset to the running config")
	p.until("document.querySelector('#try-where').value === '.confidence >= 0.5'")
	if got := len(s.arrived("/crm/hidden-path")); got != 1 {
		t.Errorf("trying sent something: %d requests", got)
	}
}

func testToken(t *testing.T, b context.Context) {
	s := newSite(t, `token = "open-sesame"`, "open-sesame")
	s.send(lead)
	p := open(t, b, 1280, s.url, "network Failed to load resource: the server responded with a status of 401")
	p.reads("dialog", "asks for a token")
	p.keys(kb.Escape)
	p.reads("dialog", "asks for a token")
	p.write("#token", "wrong")
	p.keys(kb.Enter)
	p.reads("dialog", "not the right one")
	p.write("#token", "open-sesame")
	p.keys(kb.Enter)
	p.reads("h1", "Nothing needs you")
	p.until("!document.querySelector('dialog')")
	p.reads(".log tbody tr", "crm")
	s.send(lead)
	p.until(logRows + " === 2")
	p.do(chromedp.Reload())
	p.reads("h1", "Nothing needs you")
	if p.is("document.querySelector('dialog')") {
		t.Error("it asks again after a reload")
	}
	if got := eval[string](p, "JSON.stringify([localStorage.length, document.cookie, location.href.includes('sesame')])"); got != `[0,"",false]` {
		t.Errorf("the token went elsewhere: %s", got)
	}
	// Another tab of the session has it from this one.
	q := open(t, b, 1280, s.url, "network Failed to load resource: the server responded with a status of 401")
	q.reads("h1", "Nothing needs you")
	if q.is("document.querySelector('dialog')") {
		t.Error("another tab asks for the token")
	}
}

func testPhone(t *testing.T, b context.Context) {
	s := newSite(t, "", "")
	gone := s.send(`{"signal_type":"gone_with_a_name_that_is_rather_long_for_a_phone_and_has_no_space_in_it_at_all"}`)[0]
	s.send(lead)
	p := open(t, b, 360, s.url)
	for _, view := range []string{"", "view=deliveries", "view=delivery&id=" + gone, "view=playground", "view=route&name=gone"} {
		p.do(chromedp.Navigate(s.url + "/?" + view))
		p.until("document.querySelector('.log tbody tr, .deliveries tbody tr, .attempts-list li, .trial')")
		if wide := p.number("document.documentElement.scrollWidth"); wide > 360 {
			t.Errorf("%q is %v wide on a phone", view, wide)
		}
		v, _ := url.ParseQuery(view)
		p.shoot("phone-" + v.Get("view"))
	}
	p.do(chromedp.Navigate(s.url + "/?view=delivery&id=" + gone))
	p.press(".delivery-head", "Send again")
	p.reads("dialog", "becomes pending again")
	if p.is("document.querySelector('dialog').getBoundingClientRect().right > 360") {
		t.Error("the dialog is wider than the phone")
	}
}

func testKeys(t *testing.T, b context.Context) {
	s := newSite(t, "", "")
	s.send(lead)
	id := s.send(lead)[0]
	p := open(t, b, 1280, s.url)
	p.until(logRows + " === 2")
	p.keys(kb.Tab)
	p.until("document.activeElement.className === 'skip'")
	p.keys("/")
	p.until("document.activeElement.className === 'filter'")
	p.keys("/lead") // in a field a slash is a character
	p.until("document.activeElement.value.endsWith('/lead')")
	p.keys(kb.Escape)
	p.until("document.activeElement === document.body")
	p.press(".filters", "Clear")
	p.until(logRows + " === 2")
	p.is("document.activeElement.blur() || true")
	p.keys("j")
	p.until("document.activeElement === document.querySelector('.routes a[data-row]')")
	p.is("document.querySelector('.log a[data-row]').focus() || true")
	at := func(n int) string {
		return fmt.Sprintf("document.activeElement === document.querySelectorAll('.log a[data-row]')[%d]", n)
	}
	p.keys("j")
	p.until(at(1))
	p.keys("k")
	p.until(at(0))
	if p.is("getComputedStyle(document.activeElement).outlineStyle === 'none'") {
		t.Error("the focus is not seen")
	}
	p.keys("x")
	p.reads(".chosen", "1 delivery selected")
	p.keys("r")
	p.reads("dialog", "Send this delivery again?")
	p.keys(kb.Escape)
	p.until("!document.querySelector('dialog')")
	p.keys(kb.Escape)
	p.until("document.querySelector('.chosen').hidden")
	p.keys("?")
	p.reads("dialog", "Select the row")
	p.keys(kb.Escape)
	p.until("!document.querySelector('dialog')")
	p.is("document.querySelector('.log a[data-row]').focus() || true")
	p.keys(kb.Enter)
	p.reads(".side h1", "lead to crm")
	p.keys("r")
	p.reads("dialog", "Send this delivery again?")
	p.keys(kb.Escape)
	p.until("!document.querySelector('dialog')")
	p.keys(kb.Escape)
	p.until("document.querySelector('.side').hidden")
	p.reads("h1", "Nothing needs you")
	// Met by a link from elsewhere, there is nothing of ours to go back to.
	p.do(chromedp.Navigate("about:blank"), chromedp.Navigate(s.url+"/?view=delivery&id="+id))
	p.reads("h1", "lead to crm")
	p.keys(kb.Escape)
	p.reads("h1", "Deliveries")
	p.is("history.back()")
	p.reads("h1", "lead to crm")
	p.click(".delivery-head .whole-id a")
	p.reads(".body", "12345678901234567890.10")
	p.click(".back a")
	p.reads("h1", "lead to crm")
	p.click(".brand")
	p.reads("h1", "Nothing needs you")
	// Everything that can be pressed or filled in has a name.
	if got := eval[string](p, `[...document.querySelectorAll("button, a, input, select, textarea")].filter((e) => !(e.innerText?.trim() || e.ariaLabel || e.labels?.length || e.hidden)).map((e) => e.outerHTML).join()`); got != "" {
		t.Errorf("without a name: %s", got)
	}
	p.do(chromedp.KeyEvent("k", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	p.until("document.querySelector('dialog.palette input')")
	p.keys("crm pause" + kb.Enter)
	p.reads("dialog", "Pause crm?")
	time.Sleep(500 * time.Millisecond)
	if !p.is("document.querySelector('dialog')?.innerText.includes('Pause crm?')") { // that Enter did not confirm it, too
		t.Error("the dialog has gone by itself")
	}
}

func testVerdict(t *testing.T, b context.Context) {
	s := newSite(t, "", "")
	p := open(t, b, 1280, s.url)
	p.reads("h1", "Nothing needs you")
	text, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path, append(text, "colour = \"red\"\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	p.reads("h1", "One thing needs you")
	p.reads(".problems", "config rejected")
	p.reads(".fault", "colour")
	p.reads("#verdict", "1 needs you")
	if err := os.WriteFile(s.path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p.reads("h1", "Nothing needs you")
	for range 6 {
		s.send(`{"signal_type":"down"}`)
	}
	p.reads("h1", "One thing needs you")
	p.reads(".needs", "failing")
	p.until("document.querySelector('.why time') && !document.querySelector('.why').innerText.includes('T')") // its times are the reader's
	p.reads(".needs", "503")
	p.until("document.title.startsWith('(1 needs you)')")
	p.reads(routeRow("down", "last"), "503")
	p.click(".needs h3 a")
	p.reads("h1", "down failing")
	p.press(".delivery-head", "Resume") // what waits goes at once, and is not failing until it fails again
	p.reads("dialog", "those that are due are sent at once")
	p.keys(kb.Escape)
	p.reads(".facts", "Failing for")
}

// The sidecar goes and comes back: the page says so, and misses nothing.
func testRestart(t *testing.T, b context.Context) {
	s := newSite(t, "", "")
	s.send(lead)
	s.send(`{"signal_type":"later"}`)
	p := open(t, b, 1280, s.url, "network Failed to load resource: net::ERR_")
	p.until(logRows + " === 2")
	p.reads(".live", "Live")
	p.reads(routeRow("later", "last"), "503")
	s.stop()
	p.reads("#age", "as of")
	p.until("document.body.classList.contains('stale')")
	p.reads(".live", "Connection lost")
	s.start()
	s.send(lead)
	p.until(logRows + " === 3")
	p.reads("#age", "s old")
	p.reads(".live", "Live")
	p.reads(routeRow("later", "last"), "503") // the last error outlasts a restart
}
