// Package dashboard is the page at /, embedded in the binary: HTML, CSS and
// ES modules as they were written, with no build step. Each of assets says in its first
// line what it is for; app.js is the beginning.
//
// Nothing of others is in it. A charting library would draw the easy part: uPlot
// paints a canvas, and stacks, hatching of what is unknown, marks, reading by
// keyboard and touch, and both colour schemes would be ours to paint all the same.
// As SVG they are elements, which style sheets, tests and screen readers reach.
//
// It holds no data and reads none. The browser fetches that through the JSON
// API, like any other client; so nothing here may import the queue, the proxy
// or a library.
package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/docs"
)

//go:embed assets
var assets embed.FS

// policy lets the page load from and talk to its own origin alone, and keeps
// other pages from framing it. Scripts and styles written into the page do not
// run, nor does a string become HTML.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"

// types are the content types by file name extension. They are named here
// because those of package mime depend on the machine.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// A file is one that is served.
type file struct {
	content []byte
	kind    string
	etag    string
}

// files are what is served, by path: made when somebody looks, since most sidecars
// are never looked at and it takes some MB.
var files = sync.OnceValue(func() map[string]file {
	files := map[string]file{}
	add := func(name string, content []byte, kind string) {
		sum := sha256.Sum256(content)
		files[name] = file{content, kind, `"` + hex.EncodeToString(sum[:12]) + `"`}
	}
	var links strings.Builder
	for _, t := range docs.Topics() {
		name := "/assets/docs/" + t.Name + ".md"
		add(name, []byte(t.Text), "text/plain; charset=utf-8") // which a browser shows
		fmt.Fprintf(&links, "<a href=%q>%s</a>\n  ", name, html.EscapeString(t.Name))
	}
	err := fs.WalkDir(assets, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := assets.ReadFile(name)
		if err != nil {
			return err
		}
		kind := types[path.Ext(name)]
		if kind == "" {
			return fmt.Errorf("%s: no content type is known for it", name)
		}
		add("/"+name, bytes.Replace(content, []byte("<!-- pages -->"), []byte(links.String()), 1), kind)
		return nil
	})
	if err != nil {
		panic("dashboard: " + err.Error()) // the binary was built wrong; every test meets this
	}
	files["/"] = files["/assets/index.html"]
	delete(files, "/assets/index.html")
	return files
})

// Handler serves the page at / and its files at /assets/, those of the
// documentation, which it links to, below /assets/docs/.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		f, ok := files()[r.URL.Path]
		switch {
		case !ok:
			api.Refuse(http.StatusNotFound, "there is no such page; the dashboard is at /").Write(w)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			api.Refuse(http.StatusMethodNotAllowed, "the dashboard takes GET and HEAD").With("Allow", "GET, HEAD").Write(w)
		default:
			h.Set("Content-Type", f.kind)
			h.Set("Cache-Control", "no-cache") // ask each time: a new binary brings new files
			h.Set("ETag", f.etag)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
		}
	})
}
