package config

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/docs/generated"
	"signalpost/proxy/sign"
	"signalpost/proxy/units"
)

// TestReference: the page of the config has every key of the schema with its
// default, in the order and the words of the example.
func TestReference(t *testing.T) {
	data, err := os.ReadFile("../../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	section := regexp.MustCompile(`^(?:# )?\[+([a-z.]+)\]+$`)
	keyed := regexp.MustCompile(`^(?:# )?([a-z_0-9]+) = `)
	root := rootKeys(new(Config))
	table := "| key | default | |\n| --- | --- | --- |\n"
	written, sections := map[string]bool{}, map[string]bool{}
	var comment, names []string // of the keys to be written
	var keys schema
	write := func() {
		if len(names) > 0 {
			row := ""
			for _, name := range names {
				row += ", `" + name + "`"
			}
			def, text := shownDefault(keys[names[0]]), strings.ReplaceAll(strings.Join(comment, " "), " Default none.", "")
			for _, name := range names {
				if subs := slices.Sorted(maps.Keys(keys[name].keys)); len(subs) > 0 {
					text += " Keys of `" + name + "`: `" + strings.Join(subs, "`, `") + "`."
				}
			}
			table += fmt.Sprintf("| %s | %s | %s |\n", row[2:], def, text)
		}
		comment, names = nil, nil
	}
	_, text, _ := strings.Cut(string(data), "\n\n") // behind what it says of itself
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := section.FindStringSubmatch(line); m != nil {
			if sections[m[1]] { // another route
				keys, comment = nil, nil
				continue
			}
			sections[m[1]] = true
			keys = root[m[1]].keys
			table += fmt.Sprintf("| `%s` | | %s |\n", strings.TrimPrefix(line, "# "), strings.Join(comment, " "))
			comment, written[m[1]] = nil, true
			continue
		}
		m := keyed.FindStringSubmatch(line)
		if m != nil && keys[m[1]].read != nil {
			names = append(names, m[1])
			for sub := range keys[m[1]].keys {
				written[m[1]+"."+sub] = strings.Contains(line, " "+sub+" = ")
			}
			written[m[1]] = true
		} else if text, ok := strings.CutPrefix(line, "# "); ok {
			comment = append(comment, strings.ReplaceAll(text, "|", `\|`))
		} else {
			write()
		}
	}
	write()
	for name, f := range root {
		for key, k := range f.keys {
			if !written[key] {
				t.Errorf("the example does not say what %s of [%s] is", key, name)
			}
			for sub := range k.keys {
				if !written[key+"."+sub] {
					t.Errorf("the example has no %s of %s", sub, key)
				}
			}
		}
	}
	generated.Check(t, "../docs/config.md", "go test ./proxy/config -run TestReference -update", table, *update)
}

// TestReferenceHeaders: the page names every header that is refused.
func TestReferenceHeaders(t *testing.T) {
	page, err := os.ReadFile("../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(ownHeaderPrefixes, ownHeaders...) {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("the page does not say that %s is refused", name)
		}
	}
}

// shownDefault is a field's default as a config has it.
func shownDefault(f field) string {
	var text string
	switch def := f.def.(type) {
	case time.Duration:
		text = `"` + units.FormatDuration(def) + `"`
	case int64:
		text = `"` + units.FormatSize(def) + `"`
	case int:
		text = fmt.Sprint(def)
	case float64:
		if text = fmt.Sprint(def); def == 0 {
			text = ""
		}
	case bool:
		text = fmt.Sprint(def)
	case string:
		if text = fmt.Sprintf("%q", def); def == "" {
			text = ""
		}
	case sign.Template:
		text = fmt.Sprintf("%q", def.Source)
	case slog.Level:
		text = fmt.Sprintf("%q", strings.ToLower(def.String()))
	case []string:
		if text = strings.ReplaceAll(fmt.Sprintf("%q", def), `" "`, `", "`); def == nil {
			text = ""
		}
	case []Status:
		text = strings.ReplaceAll(fmt.Sprint(def), " ", ", ")
	}
	if f.required != "" {
		return "required"
	}
	var parts []string
	for _, sub := range slices.Sorted(maps.Keys(f.keys)) {
		if def := shownDefault(f.keys[sub]); strings.HasPrefix(def, "`") {
			parts = append(parts, sub+" = "+strings.Trim(def, "`"))
		}
	}
	if len(parts) > 0 {
		text = "{ " + strings.Join(parts, ", ") + " }"
	}
	if text == "" {
		return "none"
	}
	return "`" + text + "`"
}
