package cli

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"signalpost/proxy/receiver"
)

// kinds holds the part of a config that is about one kind of receiver, and
// head.toml, which all have. TOKEN and SECRET stand for values made anew.
//
//go:embed kinds/*.toml
var kinds embed.FS

// kindNames are the kinds of receiver init knows, as its help lists them.
var kindNames = []string{"slack", "n8n", "zapier", "make", "generic"}

func initCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "init KIND",
		Short: "Write a config for slack, n8n, zapier, make or a generic receiver",
		Long: `Write a commented config with one route for a kind of receiver: slack, n8n,
zapier, make or generic. It is complete, has a secret of its own, and sends to
signalpost listen on this machine until the real URL is put in: a comment says
where. A file that is there is left alone; - for FILE prints the config.`,
		Example: examples(
			"signalpost init slack",
			"signalpost init n8n --config /etc/signalpost/signalpost.toml",
			"signalpost init generic --config -             # print it"),
		Args:              cobra.MatchAll(takes(1, 1, "one kind of receiver: "+strings.Join(kindNames, ", ")), knownKind),
		ValidArgsFunction: cobra.FixedCompletions(kindNames, cobra.ShellCompDirectiveNoFileComp),
	}
	path := configFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		text, err := newConfig(args[0])
		if err != nil {
			return err
		}
		out := newPage(c.OutOrStdout())
		file := configPath(*path)
		if file == "-" {
			_, err := out.Write([]byte(text))
			return err
		}
		if err := create(file, text); errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s is there already and was left alone; write elsewhere with --config FILE, or print with --config -", receiver.Escape(file))
		} else if err != nil {
			where := ""
			if filepath.Dir(file) == "." {
				where = " into the current folder"
			}
			return fmt.Errorf("init cannot write %s%s: %w; write elsewhere with --config FILE, or print with --config -", receiver.Escape(file), where, reason(err))
		}
		out.nextSteps(args[0], file, *path)
		return nil
	}
	return c
}

func knownKind(_ *cobra.Command, args []string) error {
	if !slices.Contains(kindNames, args[0]) {
		return fmt.Errorf("unknown kind %q; the kinds are %s", args[0], strings.Join(kindNames, ", "))
	}
	return nil
}

// newConfig is the config for a kind, with a new secret and token.
func newConfig(kind string) (string, error) {
	head, err := kinds.ReadFile("kinds/head.toml")
	if err != nil {
		return "", err
	}
	route, err := kinds.ReadFile("kinds/" + kind + ".toml")
	if err != nil {
		return "", err
	}
	return strings.NewReplacer("KIND", kind, `"SECRET"`, `"`+newSecret()+`"`, `"TOKEN"`, `"`+newToken()+`"`).
		Replace(string(head) + string(route)), nil
}

// create writes a file that was not there, for its owner alone: it holds
// secrets.
func create(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(path)
	}
	return err
}

// nextSteps says what to type after init. The commands take the flag --config if
// init was given it.
func (p page) nextSteps(kind, file, flag string) {
	if flag != "" {
		flag = " --config " + quoteShell(flag)
	}
	p.printf("%s is written, with one route that sends to this machine for now.\n\n", receiver.Escape(file))
	for _, step := range [][2]string{
		{"signalpost try" + flag, "what would be sent for a sample signal"},
		{"signalpost listen" + flag, "in a terminal: receives, verifies, prints"},
		{"signalpost run" + flag, "in another: the sidecar"},
		{"signalpost send" + flag, "in a third: the sample signal goes out"},
	} {
		p.printf("  %s %s\n", fit(step[0], max(24, width(step[0]))), p.in(dim, step[1]))
	}
	p.printf("\nThen put the URL of the real receiver in: see url in %s.\n", receiver.Escape(filepath.Base(file)))
}

// quoteShell quotes text for a shell where it must be.
func quoteShell(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r))
	}) {
		return "'" + strings.ReplaceAll(receiver.Escape(text), "'", `'\''`) + "'"
	}
	return text
}
