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
	// A question may get no answer: its connection is lost, or nobody leads yet.
	ask := func(f func(ctx context.Context) error) {
		t.Helper()
		for {
			once, done := context.WithTimeout(ctx, 3*time.Second)
			err := f(once)
			done()
			if err == nil {
				return
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	ask(func(ctx context.Context) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3})
		return err
	})
	ask(func(ctx context.Context) error {
		_, err := js.Publish(ctx, "s", []byte("kept"), jetstream.WithMsgID("once"))
		return err
	})
	c.Nodes[0].Cut()
	if direct, err := nats.Connect(c.Nodes[0].URL(), nats.MaxReconnects(0)); err == nil {
		direct.Close()
		t.Error("a node that is cut off answers")
	}
	c.Nodes[1].Kill()
	c.Nodes[1].Wipe()
	ask(func(ctx context.Context) error {
		s, err := js.Stream(ctx, "S")
		if err != nil {
			return err
		}
		m, err := s.GetMsg(ctx, 1)
		if err == nil && string(m.Data) != "kept" {
			t.Errorf("read %q", m.Data)
		}
		return err
	})
	c.Nodes[1].Start()
	c.Nodes[0].Mend()
	c.Ready()
}
