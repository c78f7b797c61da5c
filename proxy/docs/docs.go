// Package docs is the documentation but the README: a page for each topic, which
// signalpost help prints and the dashboard links to. A page begins with a line
// "# Name: what it is about".
package docs

import (
	"cmp"
	"embed"
	"regexp"
	"strings"
)

//go:embed *.md
var pages embed.FS

// marks are the lines that say which part of a page is made from the code, and how.
var marks = regexp.MustCompile(`(?m)^<!-- .* -->\n`)

// A Topic is a page: its name without .md, what it is about in a few words, and its text in Markdown.
type Topic struct{ Name, About, Text string }

// Topics are all pages, by name.
func Topics() (all []Topic) {
	entries, err := pages.ReadDir(".")
	for _, e := range entries {
		text, readErr := pages.ReadFile(e.Name())
		err = cmp.Or(err, readErr)
		title, _, _ := strings.Cut(string(text), "\n")
		_, about, _ := strings.Cut(title, ": ")
		all = append(all, Topic{strings.TrimSuffix(e.Name(), ".md"), about, marks.ReplaceAllString(string(text), "")})
	}
	if err != nil {
		panic("docs: " + err.Error()) // they are in the binary; every test meets this
	}
	return all
}
