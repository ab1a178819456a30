package stack

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// extraCAs returns the PEM certificates of bundle that no file below debian holds: those that the operator of this
// machine added. Apps must trust them too, or their package managers fail behind a company's proxy.
func extraCAs(bundle, debian string) ([][]byte, error) {
	known := map[string]bool{}
	err := filepath.WalkDir(debian, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		certs, err := readCerts(name)
		for _, c := range certs {
			known[string(c)] = true
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("read Debian's CAs: %w", err)
	}
	certs, err := readCerts(bundle)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("read this machine's CAs: %w", err)
	}
	var extra [][]byte
	for _, c := range certs {
		if !known[string(c)] {
			known[string(c)] = true
			extra = append(extra, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c}))
		}
	}
	slices.SortFunc(extra, bytes.Compare)
	return extra, nil
}

func readCerts(name string) ([][]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var certs [][]byte
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			return certs, nil
		}
		if b.Type == "CERTIFICATE" {
			certs = append(certs, b.Bytes)
		}
	}
}
