package dashboard_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"signalpost/proxy/dashboard"
	"signalpost/proxy/docs"
)

func get(t *testing.T, method, path string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	dashboard.Handler().ServeHTTP(w, r)
	return w.Result()
}

// names are the paths of all assets but the page itself.
func names(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("assets/*")
	if err != nil || len(files) < 5 {
		t.Fatalf("assets: %d files, %v", len(files), err)
	}
	var list []string
	for _, f := range files {
		if f != "assets/index.html" {
			list = append(list, "/"+filepath.ToSlash(f))
		}
	}
	return list
}

// served are all paths.
func served(t *testing.T) []string {
	list := append(names(t), "/")
	for _, topic := range docs.Topics() {
		list = append(list, "/assets/docs/"+topic.Name+".md")
	}
	return list
}

// TestDocs: the page links to every page of documentation.
func TestDocs(t *testing.T) {
	page, _ := io.ReadAll(get(t, "GET", "/").Body)
	for _, topic := range docs.Topics() {
		path := "/assets/docs/" + topic.Name + ".md"
		if !strings.Contains(string(page), `<a href="`+path+`">`+topic.Name+`</a>`) {
			t.Errorf("no link to %s", path)
		}
		if text, _ := io.ReadAll(get(t, "GET", path).Body); string(text) != topic.Text {
			t.Errorf("%s: %s", path, text)
		}
	}
}

func TestHeaders(t *testing.T) {
	for _, path := range served(t) {
		resp := get(t, "GET", path)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, resp.Status)
		}
		kind := map[string]string{"": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".md": "text/plain; charset=utf-8"}[filepath.Ext(path)]
		for name, want := range map[string]string{
			"Content-Type":           kind,
			"X-Content-Type-Options": "nosniff",
			"Referrer-Policy":        "no-referrer",
			"Cache-Control":          "no-cache",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", path, name, got, want)
			}
		}
		policy := "; " + resp.Header.Get("Content-Security-Policy") + "; "
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:",
			"frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
			if !strings.Contains(policy, "; "+want+"; ") {
				t.Errorf("%s: the policy lacks %s: %s", path, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("%s: the policy is open: %s", path, policy)
		}
	}
}

func TestNotModified(t *testing.T) {
	for _, path := range served(t) {
		etag := get(t, "GET", path).Header.Get("ETag")
		if etag == "" {
			t.Fatalf("%s: no ETag", path)
		}
		resp := get(t, "GET", path, "If-None-Match", etag)
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusNotModified || len(body) != 0 {
			t.Errorf("%s: %s with %d bytes; want 304 and none", path, resp.Status, len(body))
		}
	}
}

func TestElsewhere(t *testing.T) {
	for _, path := range []string{"/assets", "/assets/", "/assets/nothing.js", "/assets/index.html", "/assets/../dashboard.go", "/index.html", "/favicon.ico", "/log", "//"} {
		if resp := get(t, "GET", path); resp.StatusCode != http.StatusNotFound || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s, %s; want 404 as a problem", path, resp.Status, resp.Header.Get("Content-Type"))
		}
	}
}

func TestMethods(t *testing.T) {
	for _, path := range []string{"/", "/assets/app.js"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
			if resp := get(t, method, path); resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %s, Allow %q", method, path, resp.Status, resp.Header.Get("Allow"))
			}
		}
		resp := get(t, "HEAD", path)
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK || len(body) != 0 || resp.ContentLength <= 0 {
			t.Errorf("HEAD %s: %s, %d bytes of %d", path, resp.Status, len(body), resp.ContentLength)
		}
	}
}

// What the policy would stop must not be written in the first place, nor what
// would let data become HTML.
func TestSources(t *testing.T) {
	page, err := os.ReadFile("assets/index.html")
	if err != nil {
		t.Fatal(err)
	}
	for what, pattern := range map[string]string{
		"a script in the page":    `<script[^>]*>[^<]`,
		"a style in the page":     `(?i)<style|\sstyle\s*=`,
		"a handler in the page":   `(?i)\son[a-z]+\s*=`,
		"something from outside":  `(?i)(src|href)\s*=\s*"(?:https?:)?//`,
		"a file that is not here": `(?:src|href)="/assets/(?:[^"]*/)`,
	} {
		if found := regexp.MustCompile(pattern).Find(page); found != nil {
			t.Errorf("index.html: %s: %s", what, found)
		}
	}
	dangerous := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|createContextualFragment|setHTML|\.style\b|javascript:`)
	outside := regexp.MustCompile(`https?://[^\s"'` + "`" + `]+`)
	for _, name := range names(t) {
		content, err := os.ReadFile(strings.TrimPrefix(name, "/"))
		if err != nil {
			t.Fatal(err)
		}
		if found := dangerous.Find(content); found != nil {
			t.Errorf("%s: %s", name, found)
		}
		for _, url := range outside.FindAllString(string(content), -1) {
			if url != "http://www.w3.org/2000/svg" { // a name, never loaded
				t.Errorf("%s names another origin: %s", name, url)
			}
		}
	}
}
