package cell

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"ingot/cf"
	"ingot/diego/cell/env"
)

// bundle is where the programs of a stack look for trusted certificates, and most hosts keep theirs.
const bundle = "/etc/ssl/certs/ca-certificates.crt"

// helper is the program lifecycle in every container.
const helper = "/tmp/lifecycle/lifecycle"

//go:embed all:bin
var bin embed.FS

// layOut puts what containers are shown of the host into the cell's folder, and returns how they see it.
func (c *Cell) layOut() ([]cf.BindMount, error) {
	program := c.program
	if program == nil {
		var err error
		if program, err = bin.ReadFile("bin/lifecycle"); err != nil {
			return nil, errors.New("the program lifecycle was not built into ingot; build with make")
		}
	}
	sum := sha256.Sum256(program)
	at := filepath.Join(c.Data, "bin", hex.EncodeToString(sum[:]), "lifecycle")
	if err := place(at, program, 0o755); err != nil {
		return nil, err
	}
	certs := filepath.Join(c.Data, "certificates")
	mounts := []cf.BindMount{{Source: at, Target: helper}, {Source: certs, Target: env.SystemCerts}}
	trusted, err := os.ReadFile(bundle)
	if err == nil {
		mounts = append(mounts, cf.BindMount{Source: filepath.Join(certs, "ca-certificates.crt"), Target: bundle})
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	trusted = append(trusted, c.CA...)
	return mounts, place(filepath.Join(certs, "ca-certificates.crt"), trusted, 0o644)
}

// place writes a file whole or not at all, with folders that everybody may enter; the same again costs nothing.
func place(name string, data []byte, mode fs.FileMode) error {
	if had, err := os.ReadFile(name); err == nil && string(had) == string(data) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), name)
}

// layer makes sure that the droplet is unpacked on the stack; many instances of a droplet fetch it once.
func (c *Cell) layer(ctx context.Context, stack, droplet string) ([]cf.Layer, error) {
	if droplet == "" {
		return nil, nil
	}
	l := cf.Layer{Digest: path.Base(droplet), Prefix: env.Home[1:]}
	got := c.layers.DoChan(stack+" "+l.Digest, func() (any, error) {
		if has, err := c.Containers.HasLayer(c.ctx, stack, l); err != nil || has {
			return nil, err
		}
		r, _, err := c.Blobs.Open(c.ctx, droplet)
		if err != nil {
			return nil, err
		}
		defer func() { _ = r.Close() }()
		return nil, c.Containers.AddLayer(c.ctx, stack, l, r)
	})
	select {
	case g := <-got:
		if g.Err != nil {
			return nil, fmt.Errorf("droplet %s: %w", droplet, g.Err)
		}
		return []cf.Layer{l}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
