package cli

import (
	"github.com/spf13/cobra"

	"signalpost/proxy/sign"
	"signalpost/proxy/term"
)

func keygenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keygen",
		Short: "Make a private key for signatures by ed25519",
		Long: `Make a key for the preset ed25519: the private one, for signing_key, goes to
standard output, and the public one, for receivers, to standard error. check
prints the public one, too.`,
		Example: "  signalpost keygen > whsk.key",
	}
	jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		out, private := newOutput(c), sign.NewPrivateKey()
		public, err := sign.PublicKey(private)
		if err != nil {
			return err
		}
		return out.show(map[string]string{"signing_key": private, "public_key": public}, func() {
			term.Page{Writer: c.ErrOrStderr()}.Printf("public key: %s\n", public)
			out.Printf("%s\n", private)
		})
	}
	return c
}
