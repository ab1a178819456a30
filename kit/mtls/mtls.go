// Package mtls keeps a certificate authority of our own in a folder and issues certificates from it.
//
// It promises ECDSA P-256 keys in 0600 files and certificates that public clients accept once they trust the CA.
// It will not fetch certificates from anybody.
package mtls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"ingot/kit/file"
)

// CA issues certificates.
type CA struct {
	Cert *x509.Certificate
	PEM  []byte // the CA's certificate
	key  crypto.Signer
}

// LoadCA reads ca.crt and ca.key in folder, or makes a CA named name there.
func LoadCA(folder, name string) (*CA, error) {
	crt, key := filepath.Join(folder, "ca.crt"), filepath.Join(folder, "ca.key")
	if _, err := os.Stat(crt); !errors.Is(err, os.ErrNotExist) { // a certificate without its key is an error of readCA
		return readCA(crt, key)
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template(name, 10*365*24*time.Hour)
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, &k.PublicKey, k)
	if err != nil {
		return nil, err
	}
	if err := writeKey(key, k); err != nil { // the key first: a certificate without its key would be kept for ever
		return nil, err
	}
	if err := file.Replace(crt, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, err
	}
	return readCA(crt, key)
}

func readCA(crt, key string) (*CA, error) {
	text, err := os.ReadFile(crt)
	if err != nil {
		return nil, err
	}
	kt, err := os.ReadFile(key)
	if err != nil {
		return nil, fmt.Errorf("%s has no key: %w", crt, err)
	}
	pair, err := tls.X509KeyPair(text, kt)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, err
	}
	signer, ok := pair.PrivateKey.(crypto.Signer) // of any kind: an operator may bring his own CA
	if !ok || !cert.IsCA {
		return nil, fmt.Errorf("%s is not the certificate of a CA", crt)
	}
	return &CA{Cert: cert, PEM: text, key: signer}, nil
}

// Issue makes a certificate for server and client use. Names may be wildcards; ips may be nil.
func (ca *CA) Issue(cn string, names []string, ips []net.IP, life time.Duration) (tls.Certificate, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := template(cn, life)
	t.DNSNames, t.IPAddresses = names, ips
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.Cert, &k.PublicKey, ca.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der, ca.Cert.Raw}, PrivateKey: k, Leaf: leaf}, err
}

// Pool trusts this CA alone.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.Cert)
	return p
}

func template(cn string, life time.Duration) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic("mtls: no randomness: " + err.Error())
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: cn, Organization: []string{"Ingot"}},
		NotBefore: now.Add(-5 * time.Minute), NotAfter: now.Add(life),
	}
}

func writeKey(path string, k *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return err
	}
	return file.Replace(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}
