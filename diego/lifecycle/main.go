// Lifecycle is the second program of Ingot: it runs inside app containers, at /tmp/lifecycle/lifecycle. It is static and
// knows nothing of the platform.
//
//	lifecycle build [-skipDetect] [-buildpack NAME]...   make a droplet of a package
//	lifecycle launch [COMMAND [MEMORY COMMAND]...]       run the droplet in /home/vcap/app, with sidecars: MEMORY_LIMIT or "", command
//	lifecycle idle                                       wait for SIGTERM
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"ingot/diego/lifecycle/builder"
	"ingot/diego/lifecycle/launcher"
)

func main() {
	verb := ""
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	var err error
	switch verb {
	case "build":
		err = build(ctx, os.Args[2:])
	case "launch":
		stop()
		err = launch(os.Args[2:])
	case "idle":
		<-ctx.Done()
	default:
		err = errors.New("usage: lifecycle build | launch | idle")
	}
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, err)
	code := 1
	if f := (*builder.Failure)(nil); errors.As(err, &f) {
		code = f.Code
	}
	os.Exit(code)
}

// names is a flag that may be given more than once.
type names []string

func (n *names) String() string     { return strings.Join(*n, ",") }
func (n *names) Set(s string) error { *n = append(*n, s); return nil }

func build(ctx context.Context, args []string) error {
	b := builder.Build{Out: os.Stdout, Err: os.Stderr}
	fs := flag.NewFlagSet("build", flag.ContinueOnError)
	fs.Var((*names)(&b.Order), "buildpack", "name or URL; given once for each, in order")
	fs.BoolVar(&b.SkipDetect, "skipDetect", false, "all buildpacks take part")
	fs.StringVar(&b.Package, "package", "/tmp/package.zip", "the app's zip")
	fs.StringVar(&b.BuildDir, "buildDir", "/tmp/app", "where to build")
	fs.StringVar(&b.Buildpacks, "buildpacksDir", "/tmp/buildpacks", "holds the buildpacks as 0, 1, ...")
	fs.StringVar(&b.Downloads, "buildpacksDownloadDir", "/tmp/buildpackdownloads", "for buildpacks that are named by an address")
	fs.StringVar(&b.OldCache, "buildArtifactsCache", "/tmp/cache.tgz", "what the last build left for this one")
	fs.StringVar(&b.CacheDir, "buildArtifactsCacheDir", "/tmp/cache", "where it is unpacked")
	fs.StringVar(&b.Contents, "contentsDir", "/tmp/contents", "for the droplet's other folders; buildpacks leave this name in them, so it is the same in each build")
	fs.StringVar(&b.Droplet, "outputDroplet", "/tmp/droplet", "the droplet")
	fs.StringVar(&b.Result, "outputMetadata", "/tmp/result.json", "the result document")
	fs.StringVar(&b.NewCache, "outputBuildArtifactsCache", "/tmp/output-cache", "what this build leaves for the next")
	if err := fs.Parse(args); err != nil {
		return err
	}
	for _, e := range launcher.WithDatabase(os.Environ()) {
		if v, ok := strings.CutPrefix(e, "DATABASE_URL="); ok {
			if err := os.Setenv("DATABASE_URL", v); err != nil {
				return err
			}
		}
	}
	return b.Run(ctx)
}

// launch runs the process in the launcher's place; one with sidecars stays the launcher's child.
func launch(args []string) error {
	app := launcher.App{Dir: "/home/vcap/app", Env: os.Environ()}
	if len(args) > 0 {
		app.Command = args[0]
	}
	e, err := app.Exec()
	if err != nil {
		return err
	}
	if len(args) < 2 {
		return fmt.Errorf("%s: %w", e.Path, syscall.Exec(e.Path, e.Args, e.Env))
	}
	g := launcher.Group{Programs: []launcher.Exec{e}, Out: os.Stdout, Err: os.Stderr}
	for pair := range slices.Chunk(args[1:], 2) {
		side := launcher.App{Dir: app.Dir, Env: app.Env, Command: pair[len(pair)-1]}
		if pair[0] != "" {
			side.Env = launcher.Set(side.Env, "MEMORY_LIMIT", pair[0])
		}
		if e, err = side.Exec(); err != nil {
			return err
		}
		g.Programs = append(g.Programs, e)
	}
	os.Exit(g.Run())
	return nil
}
