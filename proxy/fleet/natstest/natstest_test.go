package natstest

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestCluster: what is acknowledged outlives a killed node and its disk, and a
// node that is cut off is not reached.
func TestCluster(t *testing.T) {
	c := Start(t, 3)
	nc, err := nats.Connect(c.Nodes[0].URL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, _ := jetstream.New(nc)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "s", []byte("kept"), jetstream.WithRetryAttempts(100)); err != nil { // it may have no leader yet
		t.Fatal(err)
	}
	c.Nodes[0].Cut()
	if direct, err := nats.Connect(c.Nodes[0].URL(), nats.MaxReconnects(0)); err == nil {
		direct.Close()
		t.Error("a node that is cut off answers")
	}
	c.Nodes[1].Kill()
	c.Nodes[1].Wipe()
	for {
		// A question on a connection that is just lost has no answer.
		once, done := context.WithTimeout(ctx, 3*time.Second)
		s, err := js.Stream(once, "S")
		if err == nil {
			var m *jetstream.RawStreamMsg
			if m, err = s.GetMsg(once, 1); err == nil && string(m.Data) != "kept" {
				t.Errorf("read %q", m.Data)
			}
		}
		done()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.Nodes[1].Start()
	c.Nodes[0].Mend()
	c.Ready()
}
