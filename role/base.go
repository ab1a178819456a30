package role

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ingot/bits/sign"
	"ingot/buildpacks"
	"ingot/buildpacks/stack"
	"ingot/capi/admin"
	"ingot/capi/build"
	"ingot/cf"
	"ingot/garden/linux"
	"ingot/kit/file"
	"ingot/kit/mtls"
	"ingot/kit/nats"
	"ingot/uaa"
)

func (r *rooms) loadCA(context.Context) (err error) {
	if r.ca, err = mtls.LoadCA(r.c.path("ca"), "Ingot CA "+r.c.Domain); err == nil {
		r.cell.CA = r.ca.PEM
	}
	return err
}

// certificate is for the system names and one level of apps; it is made anew at each start.
func (r *rooms) tlsConfig() (*tls.Config, error) {
	names := []string{r.c.Domain, "*." + r.c.Domain, r.c.apps(), "*." + r.c.apps()}
	cert, err := r.ca.Issue(r.c.Domain, names, nil, 397*24*time.Hour)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}, nil
}

func (r *rooms) startUAA(ctx context.Context) error {
	r.uaa.DB = r.stores["uaa"]
	if err := r.uaa.Start(ctx); err != nil {
		return err
	}
	admin, err := makeCredentials(r.c)
	if err != nil {
		return err
	}
	if err := r.uaa.EnsureClient(ctx, uaa.AdminClient(admin.Client)); err != nil {
		return err
	}
	return r.uaa.EnsureAdmin(ctx, admin.Username, admin.Password)
}

func (r *rooms) startBits(ctx context.Context) error {
	secret, err := r.secret("bits")
	if err != nil {
		return err
	}
	r.bits.Keys = sign.Keys{{Secret: secret}}
	r.bits.InUse = func(ctx context.Context, key string) (bool, error) {
		if strings.HasPrefix(key, string(cf.BlobBuildpack)+"/") {
			return admin.BuildpackInUse(ctx, r.stores["cc"].Read(), key)
		}
		return build.InUse(ctx, r.stores["cc"].Read(), key)
	}
	return r.bits.Start(ctx)
}

// secret reads the named secret of this data folder, or makes it.
func (r *rooms) secret(name string) (string, error) {
	path := r.c.path("keys", name)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		b = []byte(rand.Text())
		err = file.Replace(path, b, 0o600)
	}
	return string(b), err
}

// newGarden is the container engine of this data folder, also for commands that clean up after a dead Ingot.
func newGarden(c Config) *linux.Engine {
	return &linux.Engine{Data: c.path("garden"), Network: netip.MustParsePrefix(c.Network), HostAddress: c.hostAddress()}
}

// importStack builds the stack where the cache has none, and makes it an image. The buildpacks' zips, which are fetched as long,
// are made meanwhile.
func (r *rooms) importStack(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error {
		tar, _, err := stack.Build(ctx, r.c.Cache, os.Stderr)
		if err != nil {
			return err
		}
		return r.garden.ImportImage(ctx, stack.Name, tar)
	})
	all.Go(func() error {
		for _, b := range buildpacks.All() {
			if _, _, err := b.Zip(ctx, r.c.Cache, os.Stderr); err != nil {
				return err
			}
		}
		return nil
	})
	return all.Wait()
}

func (r *rooms) startNATS(context.Context) (err error) {
	r.nats = &nats.Server{}
	if err = r.nats.Start(); err != nil {
		return err
	}
	r.conn, err = r.nats.Connect("ingot")
	return err
}

func (r *rooms) stopNATS(context.Context) error {
	r.conn.Close()
	r.nats.Stop()
	return nil
}

// installBuildpacks stores the default buildpacks that are new since the last start.
func (r *rooms) installBuildpacks(ctx context.Context) error {
	for _, b := range buildpacks.All() {
		zip, digest, err := b.Zip(ctx, r.c.Cache, os.Stderr)
		if err != nil {
			return err
		}
		has := admin.Buildpack{Name: b.Name, Position: b.Position, Stack: b.Stack, Filename: b.Filename(), SHA256: digest}
		if has.Blob, err = r.storeBuildpack(ctx, zip, digest); err != nil {
			return err
		}
		if err := r.capi.Admin.EnsureBuildpack(ctx, has); err != nil {
			return err
		}
	}
	return nil
}

func (r *rooms) storeBuildpack(ctx context.Context, zip, digest string) (key string, err error) {
	key = string(cf.BlobBuildpack) + "/" + digest
	if old, _, err := r.bits.Open(ctx, key); err == nil {
		return key, old.Close()
	}
	f, err := os.Open(zip)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	blob, err := r.bits.Put(ctx, cf.BlobBuildpack, f)
	return blob.Key, err
}
