package cli

import (
	"crypto/rand"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"signalpost/proxy/term"
)

// kinds holds the part of a config that is about one kind of receiver, and
// head.toml, which all have. TOKEN and SECRET stand for values made anew.
//
//go:embed kinds/*.toml
var kinds embed.FS

// kindNames are the kinds of receiver init knows, as its help lists them.
var kindNames = []string{"slack", "teams", "discord", "pagerduty", "n8n", "zapier", "make", "generic"}

func initCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "init KIND",
		Short: "Write a config for slack, teams, pagerduty and other receivers",
		Long: `Write a commented config with one route for a kind of receiver: slack, teams,
discord, pagerduty, n8n, zapier, make or generic. It is complete and has a secret
of its own. Until you put the real URL in, where a comment says, it sends to
signalpost listen on this machine. An existing file is never overwritten; - for
FILE prints the config.`,
		Example: `  signalpost init slack
  signalpost init n8n --config /etc/signalpost/signalpost.toml
  signalpost init generic --config -             # print it`,
		Args: cobra.MatchAll(takes(1, 1, "one kind of receiver: "+strings.Join(kindNames, ", ")), func(_ *cobra.Command, args []string) error {
			if !slices.Contains(kindNames, args[0]) {
				return fmt.Errorf("unknown kind %q; the kinds are %s", args[0], strings.Join(kindNames, ", "))
			}
			return nil
		}),
		ValidArgsFunction: cobra.FixedCompletions(kindNames, cobra.ShellCompDirectiveNoFileComp),
	}
	ConfigFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		text, err := newConfig(args[0])
		if err != nil {
			return err
		}
		out := newOutput(c)
		file, _ := ConfigPath(c)
		if file == "-" {
			_, err := io.WriteString(out, text)
			return err
		}
		const instead = "; write elsewhere with --config FILE, or print with --config -"
		switch err := create(file, text); {
		case errors.Is(err, fs.ErrExist):
			return errors.New(file + " is there already and was left alone" + instead)
		case err != nil && filepath.Dir(file) == ".":
			return fmt.Errorf("init cannot write %s into the current folder: %w"+instead, file, reason(err))
		case err != nil:
			return fmt.Errorf("init cannot write %s: %w"+instead, file, reason(err))
		}
		flag := ""
		if c.Flags().Changed("config") {
			flag = " --config " + quoteShell(file)
		}
		printNextSteps(out.Page, file, flag)
		return nil
	}
	return c
}

// newConfig is the config for a kind, with a new secret and token.
func newConfig(kind string) (string, error) {
	head, err1 := kinds.ReadFile("kinds/head.toml")
	route, err2 := kinds.ReadFile("kinds/" + kind + ".toml")
	return strings.NewReplacer("KIND", kind, `"SECRET"`, `"`+newSecret()+`"`, `"TOKEN"`, `"`+strings.ToLower(rand.Text())+`"`).
		Replace(string(head) + string(route)), errors.Join(err1, err2)
}

// newSecret is a secret in the form of Standard Webhooks.
func newSecret() string {
	var b [32]byte
	rand.Read(b[:])
	return "whsec_" + base64.StdEncoding.EncodeToString(b[:])
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

// printNextSteps says what to type after init; flag is what the commands need
// to find the file.
func printNextSteps(p term.Page, file, flag string) {
	p.Printf("%s is written, with one route that sends to this machine for now.\n\n", file)
	for _, step := range [][2]string{
		{"signalpost try" + flag, "what would be sent for a sample signal"},
		{"signalpost listen" + flag, "in a terminal: receives, verifies, prints"},
		{"signalpost run" + flag, "in another: the sidecar"},
		{"signalpost send" + flag, "in a third: the sample signal goes out"},
	} {
		between := term.Text("\n      ") // where a line does not hold both
		if flag == "" {
			step[0], between = string(term.Fit(step[0], 24)), " "
		}
		p.Printf("  %s%s%s\n", step[0], between, p.In(term.Dim, step[1]))
	}
	p.Printf("\nThen put the URL of the real receiver in: see url in %s.\n", filepath.Base(file))
}

// quoteShell quotes text for a shell where it must be.
func quoteShell(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

var plainWord = regexp.MustCompile(`^[-\w./:=@%+,]+$`)
