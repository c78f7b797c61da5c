package client

import (
	"cmp"
	"context"
	"fmt"

	"signalpost/proxy/config"
)

// FromConfig returns a client of the sidecar that runs with this config file.
// It reads [server] alone: the sidecar can be asked what is wrong while the file
// is broken elsewhere, and by a shell that lacks the secrets of the routes. A
// token it cannot read is taken to be fallback.
func FromConfig(ctx context.Context, path, fallback string) (*Client, error) {
	server, err := config.LoadServer(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("%w; or name the sidecar with --server", err)
	}
	return FromListen(server.Listen, cmp.Or(server.Token.Reveal(), fallback))
}
