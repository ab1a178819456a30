package mtls

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, folder string) *CA {
	t.Helper()
	ca, err := LoadCA(folder, "test CA")
	ok(t, err)
	return ca
}

func TestMadeOnceAndKept(t *testing.T) {
	dir := t.TempDir()
	first, second := load(t, dir), load(t, dir)
	if !first.Cert.Equal(second.Cert) || !samePublic(first, second) || !first.Cert.IsCA || first.Cert.Subject.CommonName != "test CA" {
		t.Errorf("%v %v", first.Cert.Subject, second.Cert.Subject)
	}
	if info, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key mode %v %v", info.Mode(), err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 2 {
		t.Errorf("%v %v", files, err)
	}
	if other := load(t, t.TempDir()); samePublic(other, first) || other.Cert.SerialNumber.Cmp(first.Cert.SerialNumber) == 0 {
		t.Error("two CAs are alike")
	}
}

func samePublic(a, b *CA) bool {
	return a.key.Public().(*ecdsa.PublicKey).Equal(b.key.Public())
}

// TestOwnCA: an operator brings a CA of another kind.
func TestOwnCA(t *testing.T) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	ok(t, err)
	tmpl := template("theirs", time.Hour)
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	ok(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	ok(t, err)
	dir := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(dir, "ca.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	ok(t, os.WriteFile(filepath.Join(dir, "ca.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	ca := load(t, dir)
	leaf, err := ca.Issue("x", []string{"ingot.test"}, nil, time.Minute)
	ok(t, err)
	_, err = leaf.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: "ingot.test"})
	ok(t, err)
}

// TestKilled: what a kill leaves while the CA is made is not in the way.
func TestKilled(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"key half written":         {"ca.key.new": "-----BEGIN"},
		"key, no certificate":      {"ca.key": "-----BEGIN"},
		"certificate half written": {"ca.key": "x", "ca.crt.new": "-----BEGIN"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for f, text := range files {
				ok(t, os.WriteFile(filepath.Join(dir, f), []byte(text), 0o600))
			}
			if ca := load(t, dir); !ca.Cert.Equal(load(t, dir).Cert) {
				t.Error("made twice")
			}
		})
	}
}

// TestBroken: a CA that cannot be used is an error and is not replaced: what it issued is still in use.
func TestBroken(t *testing.T) {
	other := t.TempDir()
	load(t, other)
	otherKey, err := os.ReadFile(filepath.Join(other, "ca.key"))
	ok(t, err)
	for name, files := range map[string]map[string][]byte{
		"no key":       {"ca.key": nil},
		"another key":  {"ca.key": otherKey},
		"torn key":     {"ca.key": []byte("-----BEGIN")},
		"torn":         {"ca.crt": []byte("-----BEGIN")},
		"empty":        {"ca.crt": {}},
		"no CA at all": leafFiles(t),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			load(t, dir)
			for f, text := range files {
				path := filepath.Join(dir, f)
				ok(t, os.Remove(path))
				if text != nil {
					ok(t, os.WriteFile(path, text, 0o600))
				}
			}
			before, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
			ok(t, err)
			if ca, err := LoadCA(dir, "test CA"); err == nil {
				t.Errorf("accepted: %v", ca.Cert.Subject)
			}
			if after, err := os.ReadFile(filepath.Join(dir, "ca.crt")); err != nil || string(after) != string(before) {
				t.Error("replaced")
			}
		})
	}
}

// leafFiles is a certificate and key that are no CA's.
func leafFiles(t *testing.T) map[string][]byte {
	t.Helper()
	ca := load(t, t.TempDir())
	leaf, err := ca.Issue("leaf", nil, nil, time.Hour)
	ok(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	ok(t, err)
	return map[string][]byte{
		"ca.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}),
		"ca.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}
}

func TestReadOnlyFolder(t *testing.T) {
	if _, err := LoadCA(filepath.Join(t.TempDir(), "missing"), "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// shake does a handshake in which both sides show a certificate.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	ok(t, err)
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = c.(*tls.Conn).Handshake()
			_ = c.Close()
		}
		done <- err
	}()
	c, clientErr := net.Dial("tcp", l.Addr().String())
	ok(t, clientErr)
	tc := tls.Client(c, client)
	clientErr = tc.Handshake()
	_ = tc.Close()
	serverErr = <-done
	return serverErr, errors.Join(clientErr, l.Close())
}

func TestMutual(t *testing.T) {
	ca, foreign := load(t, t.TempDir()), load(t, t.TempDir())
	issue := func(ca *CA, life time.Duration) tls.Certificate {
		c, err := ca.Issue("x", []string{"ingot.test", "*.ingot.test"}, []net.IP{net.IPv4(127, 0, 0, 1)}, life)
		ok(t, err)
		return c
	}
	good, expired, theirs := issue(ca, time.Hour), issue(ca, -time.Minute), issue(foreign, time.Hour)
	for _, c := range []struct {
		name           string
		server, client tls.Certificate
		as             string
		serverOK       bool
		clientOK       bool
	}{
		{"good", good, good, "ingot.test", true, true},
		{"wildcard", good, good, "api.ingot.test", true, true},
		{"address", good, good, "127.0.0.1", true, true},
		{"two labels", good, good, "a.b.ingot.test", false, false},
		{"other name", good, good, "example.org", false, false},
		{"other address", good, good, "127.0.0.2", false, false},
		{"expired server", expired, good, "ingot.test", false, false},
		{"foreign server", theirs, good, "ingot.test", false, false},
		{"expired client", good, expired, "ingot.test", false, true},
		{"foreign client", good, theirs, "ingot.test", false, true},
		{"no client certificate", good, tls.Certificate{}, "ingot.test", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			serverErr, clientErr := shake(t,
				&tls.Config{Certificates: []tls.Certificate{c.server}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert},
				// shown whatever the server asks for, so that it is the server who refuses
				&tls.Config{RootCAs: ca.Pool(), ServerName: c.as, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.client, nil }})
			if (serverErr == nil) != c.serverOK || (clientErr == nil) != c.clientOK {
				t.Errorf("server: %v; client: %v", serverErr, clientErr)
			}
		})
	}
}
