package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
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

// ChangeFor is how long a call that changes many deliveries may take.
const ChangeFor = 10 * time.Minute

const partHeader = "Signalpost-Parts" // how many messages an answer has; 0: it is being worked on

// Tests have other times.
var (
	silentFor = 4 * time.Second // that a node may be until it is taken not to answer
	beatEvery = time.Second     // that it says it works on what changes something
)

// A question about an idempotency key, unless it is a call or about a view.
type question struct {
	Ledger ulid.ULID `json:"ledger"`
	Key    string    `json:"key"`
	Digest []byte    `json:"digest"`
	Call   *Call     `json:"call,omitempty"`
	View   bool      `json:"view,omitempty"` // what is the digest of the ledger's view?
}

type reply struct {
	Answer []byte `json:"answer,omitempty"` // nil: none is bound
	Reused bool   `json:"reused,omitempty"`
	Error  string `json:"error,omitempty"`

	Position uint64 `json:"position,omitempty"` // of a view
	Sum      []byte `json:"sum,omitempty"`
}

// ask has another node answer a question.
func (n *Node) ask(ctx context.Context, node ulid.ULID, q *question) (r reply, err error) {
	data, err := json.Marshal(q)
	if err != nil {
		return r, err
	}
	m, err := n.nc.RequestWithContext(ctx, n.askSubject(node), data)
	if err == nil {
		err = json.Unmarshal(m.Data, &r)
	}
	return r, err
}

// askSubject is the subject that a node answers on.
func (n *Node) askSubject(node ulid.ULID) string { return n.o.Name + ".api." + node.String() }

// serve answers what other nodes ask, until the node leaves.
func (n *Node) serve() {
	asked := make(chan *nats.Msg, 256)
	s, err := n.nc.ChanSubscribe(n.askSubject(n.ID), asked)
	if err != nil {
		n.log.Error("fleet: other nodes cannot ask this one", "err", err)
		return
	}
	defer s.Unsubscribe()
	var answering sync.WaitGroup
	defer answering.Wait()
	for {
		select {
		case <-n.ctx.Done():
			return
		case m := <-asked:
			answering.Go(func() {
				var q question
				err := json.Unmarshal(m.Data, &q)
				if err == nil && q.Call != nil && n.o.Answer != nil {
					n.respond(m, q.Call)
					return
				}
				ctx, cancel := n.soon()
				defer cancel()
				r := reply{Error: "the question is malformed"}
				if err == nil && (q.View || len(q.Digest) == 32) {
					r = n.answer(ctx, &q)
				}
				data, _ := json.Marshal(r)
				_ = m.Respond(data)
			})
		}
	}
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
	if err := n.nc.PublishRequest(n.askSubject(node), inbox, data); err != nil {
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
		beat, within = time.Tick(beatEvery), ChangeFor
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
