package cell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"ingot/cf"
	"ingot/diego/cell/env"
	"ingot/diego/cell/fetch"
	"ingot/diego/cell/result"
	"ingot/diego/cell/show"
)

// Places in a staging container (buildpackapplifecycle).
const (
	packageZip = "/tmp/package.zip"
	oldCache   = "/tmp/cache.tgz"
	packsAt    = "/tmp/buildpacks"
	dropletAt  = "/tmp/droplet"
	resultAt   = "/tmp/result.json"
	newCache   = "/tmp/output-cache"
)

// stage builds a droplet: a container that idles, the build as a second program in it, and its files read out while it
// still stands.
func (k *task) stage(limited, ctx context.Context) (*cf.StagingResult, error) {
	folder := k.c.taskFolder(k.handle())
	defer func() {
		if err := os.RemoveAll(folder); err != nil {
			slog.Warn("staging leaves files behind", "folder", folder, "error", err)
		}
	}()
	mounts, free, err := k.fetch(limited, folder)
	defer free()
	if err != nil {
		return nil, k.broken(limited, "Downloading failed", err)
	}
	k.c.Gate.Step("buildpacks fetched")
	k.log.Tell(k.platform, "Cell %s creating container for instance %s", k.c.ID, k.handle())
	err = k.c.create(limited, func() error {
		return k.start(limited, ctx, cf.ContainerSpec{
			Mounts: mounts, Program: cf.Program{Args: []string{show.Program, "idle"}},
			Properties: map[string]string{propertyKind: kindStaging},
		})
	})
	if err != nil {
		return nil, k.broken(limited, "failed to initialize container", err)
	}
	args := []string{show.Program, "build"}
	skip := false
	for _, b := range k.cf.Staging.Buildpacks {
		args = append(args, "-buildpack="+b.Name)
		skip = skip || b.SkipDetect
	}
	args = append(args, "-skipDetect="+strconv.FormatBool(skip))
	k.c.Gate.Step("build container started")
	x, err := k.c.Containers.Exec(limited, k.handle(), cf.Program{Args: args, Env: k.env, Dir: env.Home, User: "vcap"}, k.out.Streams)
	if err != nil {
		return nil, fmt.Errorf("run the build: %w", err)
	}
	if err := k.exited(x); err != nil {
		return nil, err
	}
	return k.upload(limited)
}

// fetch brings package, cache and buildpacks to the host, all at once, and says where the container is to see them.
// free is to be called when the container has ended.
func (k *task) fetch(ctx context.Context, folder string) (mounts []cf.BindMount, free func(), err error) {
	s := k.cf.Staging
	frees := make([]func(), len(s.Buildpacks))
	free = func() {
		for _, f := range frees {
			if f != nil {
				f()
			}
		}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, free, err
	}
	show := func(name string) string { return filepath.Join(folder, name) }
	packs := make([]cf.BindMount, len(s.Buildpacks))
	cached := false
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return k.get(ctx, "app package", s.Package, show("package.zip")) })
	if s.Cache != "" {
		all.Go(func() error {
			err := k.get(ctx, "build artifacts cache", cacheKey(s.Cache), show("cache.tgz"))
			if cached = err == nil; cf.IsKind(err, cf.KindNotFound) {
				return nil
			}
			return err
		})
	}
	for i, b := range s.Buildpacks {
		if b.Blob == "" {
			continue // the build itself downloads it
		}
		all.Go(func() error {
			at, f, err := k.c.packs.Get(k.c.ctx, b)
			frees[i], packs[i] = f, cf.BindMount{Source: at, Target: path.Join(packsAt, strconv.Itoa(i))}
			if err == nil {
				k.log.Tell(k.cf.SourceType, "Downloaded %s", b.Name)
			}
			return err
		})
	}
	err = all.Wait()
	mounts = append(mounts, k.c.mounts...)
	mounts = append(mounts, cf.BindMount{Source: show("package.zip"), Target: packageZip})
	if cached {
		mounts = append(mounts, cf.BindMount{Source: show("cache.tgz"), Target: oldCache})
	}
	packs = slices.DeleteFunc(packs, func(m cf.BindMount) bool { return m.Source == "" })
	return append(mounts, packs...), free, err
}

func cacheKey(name string) string { return string(cf.BlobCache) + "/" + name }

// get downloads one artifact and tells of it.
func (k *task) get(ctx context.Context, artifact, key, name string) error {
	n, _, err := fetch.File(ctx, k.c.Blobs, key, name)
	if err != nil {
		return fmt.Errorf("%s: %w", artifact, err)
	}
	k.log.Tell(k.cf.SourceType, "Downloaded %s (%s)", artifact, size(n))
	return nil
}

// upload reads result, droplet and cache out of the container. A cache that cannot be kept costs time later, not the build.
func (k *task) upload(ctx context.Context) (*cf.StagingResult, error) {
	result, err := k.result(ctx)
	if err != nil {
		return nil, err
	}
	k.log.Tell(k.cf.SourceType, "Uploading droplet, build artifacts cache...")
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error {
		k.log.Tell(k.cf.SourceType, "Uploading droplet...")
		blob, err := k.read(ctx, dropletAt, func(r io.Reader) (cf.Blob, error) { return k.c.Blobs.Put(ctx, cf.BlobDroplet, r) })
		if err != nil {
			return fmt.Errorf("upload droplet: %w", err)
		}
		result.Droplet, result.SHA256, result.Size = blob.Key, blob.SHA256, blob.Size
		if disk := k.cf.Staging.AppDiskMB; disk > 0 {
			// Probably it is started next, and here, so it is unpacked while its client reads the log; an error is the start's to tell.
			k.c.work.Go(func() { _, _ = k.c.layer(k.c.ctx, k.cf.Stack, blob.Key, disk) })
		}
		k.c.Gate.Step("droplet uploaded")
		k.log.Tell(k.cf.SourceType, "Uploaded droplet (%s)", size(blob.Size))
		return nil
	})
	if name := k.cf.Staging.Cache; name != "" {
		all.Go(func() error {
			k.log.Tell(k.cf.SourceType, "Uploading build artifacts cache...")
			blob, err := k.read(ctx, newCache, func(r io.Reader) (cf.Blob, error) { return k.c.Blobs.PutNamed(ctx, cf.BlobCache, name, r) })
			if err != nil {
				slog.Warn("build cache was not kept", "cell", k.c.ID, "task", k.handle(), "error", err)
				return nil
			}
			k.log.Tell(k.cf.SourceType, "Uploaded build artifacts cache (%s)", size(blob.Size))
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		slog.Error("staging result was not stored", "cell", k.c.ID, "task", k.handle(), "error", err)
		k.log.Warn(k.cf.SourceType, "Uploading failed")
		return nil, fmt.Errorf("Uploading failed: %s", words(err)) //nolint:staticcheck // CF's words
	}
	k.log.Tell(k.cf.SourceType, "Uploading complete")
	return result, nil
}

// read gives a file of the container to put, which must read it to its end.
func (k *task) read(ctx context.Context, file string, put func(io.Reader) (cf.Blob, error)) (cf.Blob, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(k.cat(ctx, file, w)) }() // nil: the end of a whole file
	blob, err := put(r)
	_ = r.CloseWithError(errors.New("nobody reads")) // ends the cat where put gave up
	return blob, err
}

func (k *task) cat(ctx context.Context, file string, w io.Writer) error {
	var said bytes.Buffer
	x, err := k.c.Containers.Exec(ctx, k.handle(), cf.Program{Args: []string{"/bin/cat", file}, Dir: "/", User: "vcap"}, cf.Streams{Out: w, Err: &said})
	if err == nil && x.Code != 0 {
		err = fmt.Errorf("read %s: status %d: %s", file, x.Code, bytes.TrimSpace(said.Bytes()[:min(said.Len(), 200)]))
	}
	return err
}

// result reads the document that the build leaves.
func (k *task) result(ctx context.Context) (got *cf.StagingResult, err error) {
	_, err = k.read(ctx, resultAt, func(r io.Reader) (_ cf.Blob, err error) {
		got, err = result.Read(r)
		return cf.Blob{}, err
	})
	if err != nil {
		slog.Error("staging left no result", "cell", k.c.ID, "task", k.handle(), "error", err)
		return nil, errors.New("failed to fetch result")
	}
	return got, nil
}

// size is how CF writes sizes: 512B, 1.5K, 20M.
func size(n int64) string {
	units, v := "BKMGT", float64(n)
	i := 0
	for ; v >= 1024 && i < len(units)-1; i++ {
		v /= 1024
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0") + units[i:i+1]
}
