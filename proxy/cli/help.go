package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"signalpost/proxy/docs"
)

// pages are in cobra's templates, which all commands share.
func init() {
	cobra.AddTemplateFunc("pages", func() string {
		var b strings.Builder
		for _, t := range docs.Topics() {
			fmt.Fprintf(&b, "\n  %-12s%s", t.Name, t.About)
		}
		return b.String()
	})
}

// helpCommand is cobra's help, and prints pages of the documentation too. If a command and
// a page have the same name it prints both.
func helpCommand(root *cobra.Command) *cobra.Command {
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "FlagUsages", "FlagUsagesWrapped 80") + "{{if not .HasParent}}\nPages of documentation, which signalpost help PAGE prints:{{pages}}\n{{end}}")
	return &cobra.Command{
		Use:   "help [COMMAND | PAGE]",
		Short: "Help for a command, or a page of the documentation",
		Long: `Help for a command, or a page of the documentation as Markdown. Without
either, all commands and pages.`,
		Example: "  signalpost help run\n  signalpost help recipes | less",
		Args:    cobra.ArbitraryArgs,
		ValidArgsFunction: func(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
			for _, c := range root.Commands() {
				if c.IsAvailableCommand() {
					names = append(names, c.Name()+"\t"+c.Short)
				}
			}
			for _, t := range docs.Topics() {
				names = append(names, t.Name+"\t"+t.About)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			command, rest, err := root.Find(args)
			known := err == nil && len(rest) == 0
			if known {
				command.InitDefaultHelpFlag()
				if err := command.Help(); err != nil {
					return err
				}
			}
			for _, t := range docs.Topics() {
				if slices.Equal(args, []string{t.Name}) {
					_, err := fmt.Fprint(c.OutOrStdout(), map[bool]string{true: "\n"}[known]+t.Text)
					return err
				}
			}
			if known {
				return nil
			}
			return usage("there is neither a command nor a page %q; signalpost help lists both", strings.Join(args, " "))
		},
	}
}
