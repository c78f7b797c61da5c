package proxy

import (
	"context"
	"fmt"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/proxy/table"
	"signalpost/proxy/term"
)

// maxReloads is how many reloads are remembered.
const maxReloads = 20

// A rejection is why the config file is not the running config.
type rejection struct {
	error
	since time.Time // the first of the faults since it was
}

// Reload reads the config file again and applies it, or changes nothing and
// returns why. It loses and repeats nothing: a signal or attempt under way ends with
// the table it began with. It waits for files until ctx ends.
func (p *Proxy) Reload(ctx context.Context) error {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	old := p.table.Load()
	t, err := p.load(ctx)
	if err != nil {
		if ctx.Err() == nil {
			rejected := &rejection{err, time.Now()}
			if before := p.rejected.Load(); before != nil {
				rejected.since = before.since
			}
			p.rejected.Store(rejected)
		}
		return err
	}
	t.Reloads = append(old.Reloads[max(len(old.Reloads)-maxReloads+1, 0):len(old.Reloads):len(old.Reloads)], api.Reload{Time: t.Loaded.UTC(), Hash: t.Config.Hash})
	t.Inherit(old)
	// From here on nothing fails that would have to be undone.
	p.rejected.Store(nil)
	p.table.Store(t)
	if err := p.configure(t.Queue()); err != nil {
		// It has them nonetheless, for when the store can be written again.
		p.log.Warn("the queue takes up the new config when its store works again", "err", err)
	}
	old.Close()
	p.look() // what has changed of the routes begins now
	output(p.log).apply(t.Config.Log)
	if t.Config.Server.Listen != p.listen {
		p.log.Warn(fmt.Sprintf("server.listen is now %s, but the sidecar goes on listening on %s: restart it to change that; all else is applied", t.Config.Server.Listen, p.listen))
	}
	if t.Config.Queue.Path != p.store {
		p.log.Warn(fmt.Sprintf("queue.path is now %s, but the store stays at %s: restart the sidecar to change that; all else is applied", t.Config.Queue.Path, p.store))
	}
	if !t.Config.Fleet.Equal(p.joined) {
		p.log.Warn("[fleet] has changed, but the sidecar stays as it is: restart it to change that; all else is applied")
	}
	p.log.Info(fmt.Sprintf("config reloaded: %s, %s", t.Config.Hash, term.Count(len(t.Routes), "route")))
	return nil
}

// load does everything of a reload that can fail.
func (p *Proxy) load(ctx context.Context) (*table.Table, error) {
	cfg, err := config.Load(ctx, p.path)
	if err != nil {
		return nil, err
	}
	return table.New(cfg, userAgent(p.version))
}

// reload is Reload that logs its error.
func (p *Proxy) reload(ctx context.Context) {
	if err := p.Reload(ctx); err != nil && ctx.Err() == nil {
		p.log.Error("config not reloaded, the running one stays", "err", err)
	}
}

// configError is why the config file, as it was when it was last read, is not
// the running config; nil if it is.
func (p *Proxy) configError() error {
	if rejected := p.rejected.Load(); rejected != nil {
		return rejected.error
	}
	return nil
}
