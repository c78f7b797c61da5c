package config

import (
	"crypto/tls"
	"strings"
	"testing"
)

// TestFleet: [fleet] off is nothing, on it has its defaults; what others could
// read or do is warned of, and equal tables are equal.
func TestFleet(t *testing.T) {
	route := "[[route]]\nname = \"crm\"\nurl = \"https://crm.example.com\"\nsecret = \"0123456789\"\nsignatures = [\"beton\"]\n"
	read := func(table string) *Config {
		c, faults := parse("f.toml", []byte(table+route), testInputs())
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		return c
	}
	if c := read(""); c.Fleet != nil {
		t.Errorf("off, it is %+v", c.Fleet)
	}
	f := read("[fleet]\nservers = [\"nats://127.0.0.1:4222\"]\n").Fleet
	check(t, "fleet", []any{f.Name, f.Replicas, len(f.Servers), f.User}, []any{"signalpost", 3, 1, ""})
	other := read("[fleet]\nservers = [\"nats://127.0.0.1:4222\"]\nreplicas = 1\n").Fleet
	if !f.Equal(f) || f.Equal(other) || f.Equal(nil) || !(*Fleet)(nil).Equal(nil) {
		t.Error("equal tables differ, or others do not")
	}
	with := func(chain string) *Fleet {
		f := *f
		f.TLS.Config = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{[]byte(chain)}}}}
		return &f
	}
	if a := with("a"); !a.Equal(with("a")) || a.Equal(with("b")) || a.Equal(f) {
		t.Error("a certificate that has been renewed is not another, or the same one is")
	}
	for table, want := range map[string]string{
		`servers = ["nats://localhost:4222"]`:                            "",
		`servers = ["nats://n1:4222"]`:                                   "servers: without TLS and without credentials",
		`servers = ["tls://n1:4222"]`:                                    "servers: without credentials anyone",
		"servers = [\"nats://n1:4222\"]\nuser = \"u\"\npassword = \"p\"": "servers: without TLS anyone",
		"servers = [\"tls://u:CANARY@n1:4222\"]":                         "",
	} {
		c := read("[fleet]\n" + table + "\n")
		got := c.Warnings.Error()
		if want == "" && len(c.Warnings) > 0 || !strings.Contains(got, want) || strings.Contains(got, canary) {
			t.Errorf("%s: warned of %q, want %q", table, got, want)
		}
	}
}
