package fleet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/fleet/natstest"
	"signalpost/queue"
)

// certificate makes one for loopback, and returns its files and who trusts it.
func certificate(t *testing.T) (cert, key string, trusts *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nats"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	trusts = x509.NewCertPool()
	trusts.AppendCertsFromPEM(public)
	cert, key = filepath.Join(t.TempDir(), "c.pem"), filepath.Join(t.TempDir(), "c.key")
	if err := errors.Join(os.WriteFile(cert, public, 0o600), os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)); err != nil {
		t.Fatal(err)
	}
	return cert, key, trusts
}

// TestLogin: with the permissions that the documentation names, over TLS, all of
// it works; a wrong login, and permissions that lack something, are told.
func TestLogin(t *testing.T) {
	page, err := os.ReadFile("../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```text\n")
	permissions, _, _ := strings.Cut(rest, "```")
	if !strings.Contains(permissions, "permissions") {
		t.Fatalf("the page names as permissions %q", permissions)
	}
	cert, key, trusts := certificate(t)
	c := natstest.Start(t, 1, fmt.Sprintf(`tls { cert_file: %q, key_file: %q }
authorization { users: [
  { user: app, password: "s3cret", %s }
  { user: poor, password: "s3cret", permissions { publish: ["$JS.API.>"], subscribe: ["_INBOX.>"] } }
] }`, cert, key, permissions))
	options := func(user, password string) Options {
		return Options{
			Servers: c.URLs(), User: user, Password: password, TLS: &tls.Config{RootCAs: trusts}, Name: "signalpost", Replicas: 1,
			Remember: time.Minute, Folder: t.TempDir(), Log: slog.New(slog.DiscardHandler), ttl: 2 * time.Second,
		}
	}
	r := &recorder{got: map[queue.DeliveryID]int{}, down: true}
	a, b := joinWith(t, options("app", "s3cret"), r), joinWith(t, options("app", "s3cret"), r)
	a.snapshotBytes = 1
	ids := a.puts(10)
	if _, _, err := b.use("k", "body"); err != nil {
		t.Error(err)
	}
	if _, replayed, err := a.use("k", "body"); err != nil || !replayed {
		t.Errorf("a key of another sidecar: %v, %v", replayed, err)
	}
	eventually(t, 30*time.Second, func() error {
		all, err := Look(t.Context(), options("app", "s3cret"), true)
		for _, l := range all {
			if l.Fault != nil {
				t.Fatal(l.Fault)
			}
			if l.ID == a.ownID() && l.Age() == 0 {
				err = fmt.Errorf("there is no snapshot")
			}
		}
		return err
	})
	a.stop()
	r.set(false)
	eventually(t, 30*time.Second, func() error { return r.missing(ids) })
	b.stop()

	if _, err := Join(options("app", "wrong")); err == nil || !strings.Contains(err.Error(), "refuses the login") {
		t.Errorf("a wrong password: %v", err)
	}
	n, err := Join(options("poor", "s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Leave()
	_, _, err = n.Journal()
	if err == nil || !strings.Contains(err.Error(), "ermissions") {
		t.Errorf("without the permission: %v", err)
	}
}

// TestVersions: servers that are too old are known.
func TestVersions(t *testing.T) {
	for version, want := range map[string]bool{"2.15.0": true, "2.15.3-beta": true, "v3.0.1": true, "2.14.9": false, "1.99.0": false, "": false, "two": false} {
		if modern(version) != want {
			t.Errorf("%q: %v", version, !want)
		}
	}
}
