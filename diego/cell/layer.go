package cell

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"ingot/cf"
	"ingot/diego/cell/env"
)

//go:embed all:bin
var embedded embed.FS

// helper is the program lifecycle; it is built before ingot is.
func (c *Cell) helper() ([]byte, error) {
	var from fs.FS = embedded
	if c.helpers != nil {
		from = c.helpers
	}
	b, err := fs.ReadFile(from, "bin/lifecycle")
	if err != nil {
		return nil, errors.New("the program lifecycle was not built into ingot; build with make")
	}
	return b, nil
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
