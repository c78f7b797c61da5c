package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"signalpost/proxy"
	"signalpost/proxy/api"
	"signalpost/proxy/client"
	"signalpost/proxy/config"
	"signalpost/queue"
)

// An app posts a signal under a key of its own: until the sidecar has it, and not twice.
func ExampleClient_Send() {
	defer sidecar()()
	c, err := client.New(os.Getenv("SIGNALPOST_SERVER"), os.Getenv("SIGNALPOST_TOKEN"))
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for range 2 { // the app does not know that it has posted it already
		accepted, _, err := c.Send(ctx, client.Signals{
			Body: []byte(`{"signal_type":"product_qualified_lead","account":{"name":"Acme Corp"}}`),
			Key:  "order-4711",
		})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(accepted), "signal for", accepted[0].Deliveries[0].Route)
	}
	var page api.DeliveryPage
	if err := c.Get(ctx, "/deliveries?route=crm", &page); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(page.Deliveries), "delivery in all")
	// Output:
	// 1 signal for crm
	// 1 signal for crm
	// 1 delivery in all
}

// A refusal says what is wrong, and what to do.
func ExampleClient_Send_refused() {
	defer sidecar()()
	c, err := client.New(os.Getenv("SIGNALPOST_SERVER"), os.Getenv("SIGNALPOST_TOKEN"))
	if err != nil {
		log.Fatal(err)
	}
	_, _, err = c.Send(context.Background(), client.Signals{Body: []byte(`{"type":"lead"}`)})
	if problem, ok := errors.AsType[*api.Problem](err); ok {
		fmt.Println(problem.Status, problem.Detail)
	}
	// Output:
	// 422 the signal has no signal_type; add "signal_type": "name"
}

// The delivery log goes on for ever, or until who follows it has seen enough.
func ExampleClient_Follow() {
	defer sidecar()()
	c, err := client.New(os.Getenv("SIGNALPOST_SERVER"), os.Getenv("SIGNALPOST_TOKEN"))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if _, _, err := c.Send(ctx, client.Signals{Body: []byte(`{"signal_type":"lead"}`)}); err != nil {
		log.Fatal(err)
	}
	enough := errors.New("enough")
	err = c.Follow(ctx, url.Values{"route": {"crm"}, "limit": {"100"}}, func(e queue.Entry) error {
		fmt.Println(e.Attempt, e.Type, e.Verdict, e.Error)
		return enough
	})
	if !errors.Is(err, enough) {
		log.Fatal(err)
	}
	// Output:
	// 1 lead retry connection refused (127.0.0.1:9)
}

// sidecar runs one, whose receiver is down, and sets SIGNALPOST_SERVER. It returns what stops it.
func sidecar() (stop func()) {
	dir, err := os.MkdirTemp("", "signalpost-example-")
	if err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(dir, "signalpost.toml")
	if err := os.WriteFile(path, []byte("[server]\nlisten = \"127.0.0.1:0\"\n[[route]]\nname = \"crm\"\nurl = \"http://127.0.0.1:9\"\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	cfg, err := config.Load(context.Background(), path)
	if err != nil {
		log.Fatal(err)
	}
	p, err := proxy.New(cfg, nil, "example")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	listens, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- p.Serve(ctx, func(addr string) { listens <- addr }) }()
	os.Setenv("SIGNALPOST_SERVER", "http://"+<-listens)
	return func() {
		cancel()
		if err := errors.Join(<-ended, os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}
