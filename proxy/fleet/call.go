package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/oklog/ulid/v2"
)

// A Call is a request to another node, as HTTP has it.
type Call struct {
	Method string      `json:"method"`
	URL    string      `json:"url"` // path and query
	Host   string      `json:"host"`
	Header http.Header `json:"header"`
	Body   []byte      `json:"body,omitempty"`
}

// Request is the call as a request to a handler of this process.
func (c *Call) Request(ctx context.Context) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, c.Method, c.URL, bytes.NewReader(c.Body))
	if err != nil {
		return nil, err
	}
	r.Host, r.Header, r.RequestURI = c.Host, c.Header.Clone(), c.URL
	if r.Header == nil {
		r.Header = http.Header{}
	}
	return r, nil
}

// An Answer is what a node answers.
type Answer struct {
	Status int         `json:"status"`
	Header http.Header `json:"header"`
	Body   []byte      `json:"body"`
}

const (
	partHeader = "Signalpost-Parts" // how many messages an answer has; 0: it is being worked on
	orderFor   = 10 * time.Minute   // that what changes many deliveries may take
)

// Tests have other times.
var (
	silentFor = 4 * time.Second // that a node may be until it is taken not to answer
	beatEvery = time.Second     // that it says it works on what changes something
)

// Others are the nodes that own a ledger, but this one, with their hosts.
func (n *Node) Others() map[ulid.ULID]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[ulid.ULID]string{}
	for _, o := range n.seen {
		if o.Node != n.ID {
			all[o.Node] = o.Host
		}
	}
	return all
}

// Seen are the owners of ledgers, as last looked up.
func (n *Node) Seen() map[ulid.ULID]Owner {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.seen)
}

// Ownerless are the ledgers that nobody runs, as far as is known.
func (n *Node) Ownerless() (all []ulid.ULID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range n.orphaned {
		if _, owned := n.seen[id]; !owned && n.held[id] == nil && !n.ended[id] && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all
}

// Ask has another node answer a call: within some seconds, or, if it is one that
// changes something, until ctx ends.
func (n *Node) Ask(ctx context.Context, node ulid.ULID, c *Call) (*Answer, error) {
	data, err := json.Marshal(question{Call: c})
	if err != nil {
		return nil, err
	}
	inbox := n.nc.NewInbox()
	parts := make(chan *nats.Msg, 64)
	s, err := n.nc.ChanSubscribe(inbox, parts)
	if err != nil {
		return nil, err
	}
	defer s.Unsubscribe()
	if err := n.nc.PublishRequest(n.api(node), inbox, data); err != nil {
		return nil, err
	}
	var all []byte
	silence := time.After(silentFor)
	for got := 0; ; {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-silence:
			return nil, fmt.Errorf("no answer within %v", silentFor)
		case m := <-parts:
			most, err := strconv.Atoi(m.Header.Get(partHeader))
			if err != nil { // nobody is there to answer
				return nil, fmt.Errorf("no answer: %s", m.Header.Get("Status"))
			}
			if most == 0 {
				silence = time.After(silentFor)
				continue
			}
			all = append(all, m.Data...)
			if got++; got < most {
				continue
			}
			a := &Answer{}
			return a, json.Unmarshal(all, a)
		}
	}
}

// respond answers a call, in as many messages as it takes.
func (n *Node) respond(to *nats.Msg, c *Call) {
	var beat <-chan time.Time
	within := answerFor
	if c.Method == http.MethodPost {
		beat, within = time.Tick(beatEvery), orderFor
	}
	ctx, cancel := context.WithTimeout(n.ctx, within)
	defer cancel()
	answered := make(chan *Answer, 1)
	go func() { answered <- n.o.Answer(ctx, c) }()
	var a *Answer
	for a == nil {
		select {
		case a = <-answered:
		case <-beat:
			_ = n.nc.PublishMsg(&nats.Msg{Subject: to.Reply, Header: nats.Header{partHeader: {"0"}}})
		}
	}
	data, err := json.Marshal(a)
	if err != nil {
		return
	}
	parts := slices.Collect(slices.Chunk(data, pieceBytes))
	for _, p := range parts {
		m := &nats.Msg{Subject: to.Reply, Data: p, Header: nats.Header{partHeader: {strconv.Itoa(len(parts))}}}
		if n.nc.PublishMsg(m) != nil {
			return
		}
	}
}
