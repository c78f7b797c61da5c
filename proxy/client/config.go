package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"signalpost/proxy/config"
)

// FromConfig returns a client of the sidecar that runs with this config file.
// It reads [server] alone, and leniently: the sidecar can be asked what is
// wrong while the file is broken elsewhere, and by a shell that lacks the
// secrets of the routes. A token it cannot read is taken to be fallback.
func FromConfig(path, fallback string) (*Client, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		if inner := (*os.PathError)(nil); errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, fmt.Errorf("config %s: %w; name the file with --config, or the sidecar with --server", path, err)
	}
	var file struct {
		Server struct {
			Listen string `toml:"listen"`
			Token  any    `toml:"token"`
		} `toml:"server"`
	}
	file.Server.Listen = config.DefaultListen
	if err := toml.Unmarshal(text, &file); err != nil {
		// It may quote the file, and with it a secret.
		return nil, fmt.Errorf("config %s cannot be read: find out why with signalpost check, or name the sidecar with --server", path)
	}
	below := func(name string) string {
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(filepath.Dir(path), name)
	}
	listen := file.Server.Listen
	if socket, ok := strings.CutPrefix(listen, "unix:"); ok {
		listen = "unix:" + below(socket)
	}
	token := fallback
	switch v := file.Server.Token.(type) {
	case string:
		token = v
	case map[string]any:
		if name, ok := v["env"].(string); ok && os.Getenv(name) != "" {
			token = os.Getenv(name)
		}
		if name, ok := v["file"].(string); ok {
			if b, err := os.ReadFile(below(name)); err == nil {
				token = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
			}
		}
	}
	return FromListen(listen, token)
}
