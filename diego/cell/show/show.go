// Package show lays out, in a folder of the host, what every app container is shown of it: the program lifecycle and the
// certificates to trust.
//
// It promises that a file is replaced whole or not at all, and that containers keep what they were shown. It will not
// mount anything.
package show

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ingot/cf"
	"ingot/diego/cell/env"
	"ingot/kit/file"
)

// Program is where containers see the program lifecycle.
const Program = "/tmp/lifecycle/lifecycle"

// Launch is the command line of an instance: its process, and with it its sidecars.
func Launch(d *cf.DesiredLRP) []string {
	args := []string{Program, "launch", d.Start}
	for _, s := range d.Sidecars {
		memory := ""
		if s.MemoryMB > 0 {
			memory = fmt.Sprintf("%dm", s.MemoryMB)
		}
		args = append(args, memory, s.Start)
	}
	return args
}

// bundle is where the programs of a stack look for trusted certificates, and most hosts keep theirs.
const bundle = "/etc/ssl/certs/ca-certificates.crt"

// Files writes the program, and the host's trusted certificates with more (PEM), into folder, and returns how containers
// see them.
func Files(folder string, program, more []byte) ([]cf.BindMount, error) {
	sum := sha256.Sum256(program)
	version := hex.EncodeToString(sum[:])
	at := filepath.Join(folder, "bin", version, "lifecycle")
	if err := place(at, program, 0o755); err != nil {
		return nil, err
	}
	if err := others(filepath.Join(folder, "bin"), version); err != nil {
		return nil, err
	}
	certs := filepath.Join(folder, "certificates")
	mounts := []cf.BindMount{{Source: at, Target: Program}, {Source: certs, Target: env.SystemCerts}}
	trusted, err := os.ReadFile(bundle)
	if err == nil { // else a stack's own are better than none
		mounts = append(mounts, cf.BindMount{Source: filepath.Join(certs, "ca-certificates.crt"), Target: bundle})
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	trusted = append(trusted, more...)
	return mounts, place(filepath.Join(certs, "ca-certificates.crt"), trusted, 0o644)
}

// others removes what is in folder beside keep: programs of other versions of ingot. Containers that show them keep them.
func others(folder, keep string) error {
	had, err := os.ReadDir(folder)
	for _, e := range had {
		if e.Name() != keep {
			err = errors.Join(err, os.RemoveAll(filepath.Join(folder, e.Name())))
		}
	}
	return err
}

// place writes a file whole or not at all, with folders that everybody may enter; the same again costs nothing.
func place(name string, data []byte, mode fs.FileMode) error {
	if had, err := os.ReadFile(name); err == nil && string(had) == string(data) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return file.Replace(name, data, mode)
}
