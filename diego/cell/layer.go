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

// Carried tells whether this program carries the lifecycle.
func Carried() error {
	_, err := lifecycle(embedded)
	return err
}

// helper is the program lifecycle.
func (c *Cell) helper() ([]byte, error) {
	if c.helpers != nil {
		return lifecycle(c.helpers)
	}
	return lifecycle(embedded)
}

// lifecycle is built before ingot is.
func lifecycle(from fs.FS) ([]byte, error) {
	b, err := fs.ReadFile(from, "bin/lifecycle")
	if err != nil {
		return nil, errors.New("the program lifecycle was not built into ingot; build with make")
	}
	return b, nil
}

// layer makes sure that the droplet is unpacked on the stack, to no more than the disk of who asks for it; many instances of a droplet fetch it once. Where ctx ends,
// the fetching goes on for the others; Stop waits for it.
func (c *Cell) layer(ctx context.Context, stack, droplet string, diskMB int) ([]cf.Layer, error) {
	if droplet == "" {
		return nil, nil
	}
	l := cf.Layer{Digest: path.Base(droplet), Prefix: env.Home[1:], Limit: int64(diskMB) << 20}
	fetched := make(chan error, 1)
	c.work.Go(func() {
		_, err, _ := c.layers.Do(fmt.Sprint(stack, l), func() (any, error) { return nil, c.addLayer(c.ctx, stack, droplet, l) })
		fetched <- err
	})
	select {
	case err := <-fetched:
		if err != nil {
			return nil, fmt.Errorf("droplet %s: %w", droplet, err)
		}
		return []cf.Layer{l}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Cell) addLayer(ctx context.Context, stack, droplet string, l cf.Layer) error {
	if has, err := c.Containers.HasLayer(ctx, stack, l); err != nil || has {
		return err
	}
	r, _, err := c.Blobs.Open(ctx, droplet)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	return c.Containers.AddLayer(ctx, stack, l, r)
}
