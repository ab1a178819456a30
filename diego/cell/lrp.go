package cell

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ingot/cf"
	"ingot/diego/cell/env"
	"ingot/diego/cell/line"
	"ingot/diego/cell/meter"
	"ingot/diego/cell/room"
	"ingot/diego/cell/show"
)

// lrp is one instance on this cell. Its run is the only one that writes actual.
type lrp struct {
	c       *Cell
	desired atomic.Pointer[cf.DesiredLRP]
	actual  cf.ActualLRP
	log     *line.Log
	out     *line.Streams
	use     *meter.Meter
	found   bool // it was running when the cell started
	asked   context.Context
	stop    context.CancelFunc // asks it to stop
}

// ending is how the run of an instance ended.
type ending struct {
	kind endingKind
	code int
	text string
	at   time.Time // when the program ended; zero: it did not by itself
}

type endingKind int

const (
	runs     endingKind = iota // it has not ended
	left                       // Ingot stops; the container stays
	stopped                    // it was asked to
	unwanted                   // the board does not want it
	refused                    // there was no room for it
	crashed
)

var errUnwanted = errors.New("the board does not want this instance")

func (c *Cell) newLRP(d cf.DesiredLRP, a cf.ActualLRP) *lrp {
	if len(d.Ports) == 0 {
		d.Ports = []int{8080}
	}
	a.Cell, a.Host = c.ID, c.Address
	l := &lrp{c: c, actual: a}
	l.desired.Store(&d)
	l.asked, l.stop = context.WithCancel(context.Background())
	l.log = c.crowd.Log(c.Logs, a.AppID, strconv.Itoa(a.Index), l.tags(), d.Limits.LogBytesPerSec)
	sources := []string{cf.SourceApp + "/PROC/" + strings.ToUpper(d.Type)}
	for _, s := range d.Sidecars {
		sources = append(sources, sources[0]+"/SIDECAR/"+strings.ToUpper(s.Name))
	}
	l.out = l.log.Streams(sources...)
	l.use = &meter.Meter{Host: &c.host, App: a.AppID, Handle: l.handle(), Limits: d.Limits, Log: l.log}
	return l
}

func (l *lrp) handle() string { return string(l.actual.Instance) }

// tags of all lines and metrics: Cloud Controller's and the instance's own.
func (l *lrp) tags() map[string]string {
	d := l.desired.Load()
	t := map[string]string{"process_id": d.Process, "process_type": d.Type}
	maps.Copy(t, d.MetricTags)
	t["process_instance_id"] = l.handle()
	return t
}

// update takes over what may change while an instance runs.
func (l *lrp) update(d cf.DesiredLRP) {
	if len(d.Ports) == 0 {
		d.Ports = l.desired.Load().Ports
	}
	l.desired.Store(&d)
	l.log.Retag(l.tags())
}

// run is the life of the instance on this cell.
func (l *lrp) run(ctx context.Context) {
	e := l.begin(ctx)
	if e.kind == runs {
		e = l.watch(ctx)
	}
	l.out.Flush()
	l.end(ctx, e)
	l.stop()
}

// begin creates the container and starts the app in it, or takes up the one that was found.
func (l *lrp) begin(ctx context.Context) ending {
	if l.found {
		if err := l.c.Containers.Attach(ctx, l.handle(), l.out.Streams); err != nil {
			slog.Warn("output of a running instance is lost", "cell", l.c.ID, "instance", l.handle(), "error", err)
		}
		return ending{}
	}
	soon, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.asked, cancel)()
	heard, wanted := l.c.report(soon, "claimed", func(ctx context.Context) error { return l.c.Board.Claimed(ctx, l.actual) })
	if !wanted {
		return ending{kind: unwanted}
	}
	err := context.Cause(soon)
	if heard {
		l.c.Gate.Step("instance placed")
		err = l.c.create(soon, func() error { return l.make(ctx, soon) })
	}
	switch {
	case err == nil:
		return ending{}
	case ctx.Err() != nil:
		return ending{kind: left}
	case l.asked.Err() != nil:
		return ending{kind: stopped}
	}
	slog.Error("instance was not created", "cell", l.c.ID, "instance", l.handle(), "error", err)
	l.log.Warn(cf.SourceCell, "Cell %s failed to create container for instance %s: %s", l.c.ID, l.handle(), words(err))
	if cf.IsKind(err, cf.KindNoRoom) { // the disk is fuller than the auction could know
		return ending{kind: refused, text: room.ErrNone.Error() + ": " + words(err)}
	}
	return ending{kind: crashed, text: "failed to initialize container: " + words(err)}
}

// make creates and starts the container; soon ends when the instance is asked to stop before that.
func (l *lrp) make(ctx, soon context.Context) error {
	d := l.desired.Load()
	l.log.Tell(cf.SourceCell, "Cell %s creating container for instance %s", l.c.ID, l.handle())
	layers, err := l.c.layer(soon, d.Stack, d.Droplet, d.Limits.DiskMB)
	if err != nil {
		return err
	}
	at, err := l.c.Containers.Reserve(soon, l.handle(), d.Ports)
	if err != nil {
		return fmt.Errorf("reserve an address: %w", err)
	}
	l.actual.Address, l.actual.Ports = at.Address, at.Ports
	spec, err := l.spec(d, layers)
	if err != nil {
		return err
	}
	if _, err := l.c.Containers.Create(soon, spec); err != nil {
		return fmt.Errorf("create container: %w", err)
	}
	l.log.Tell(cf.SourceCell, "Cell %s successfully created container for instance %s", l.c.ID, l.handle())
	if err := l.c.Containers.Start(ctx, l.handle(), l.out.Streams); err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	l.c.Gate.Step("container started")
	return nil
}

// spec says what container the instance needs. It keeps with it what the cell must know to take it up again.
func (l *lrp) spec(d *cf.DesiredLRP, layers []cf.Layer) (cf.ContainerSpec, error) {
	plain := *d
	plain.Env, plain.VCAPApp = nil, nil // the program has them
	what, err := json.Marshal(plain)
	if err != nil {
		return cf.ContainerSpec{}, fmt.Errorf("keep the LRP: %w", err)
	}
	return cf.ContainerSpec{
		Handle: l.handle(), Image: d.Stack, Layers: layers, Mounts: l.c.mounts,
		Program: cf.Program{Args: show.Launch(d), Env: env.LRP(d, l.actual), Dir: env.Home, User: "vcap"},
		Limits:  limits(d.Limits), CPUShares: uint64(max(d.Limits.MemoryMB, 2)),
		Ports: d.Ports, Egress: d.Egress,
		Properties: map[string]string{propertyKind: kindLRP, propertyWhat: string(what)},
	}, nil
}

// limits with the cell's own defaults.
func limits(l cf.Limits) cf.Limits {
	if l.Pids == 0 {
		l.Pids = defaultPids
	}
	if l.FileDescriptors == 0 {
		l.FileDescriptors = defaultFiles
	}
	return l
}

// watch waits for the first reason to end, and ends the app unless it ended itself.
func (l *lrp) watch(ctx context.Context) ending {
	exited := l.c.exit(ctx, l.handle())
	well, cancel := context.WithCancel(ctx)
	sick := make(chan error, 1)
	var monitor sync.WaitGroup
	monitor.Go(func() { sick <- l.monitor(well) })
	done := func() { cancel(); monitor.Wait() }
	var e ending
	select {
	case x := <-exited:
		done()
		return l.exitedWith(ctx, x)
	case err := <-sick:
		switch {
		case err == nil: // as ctx ended
			e.kind = left
		case errors.Is(err, errUnwanted):
			e.kind = unwanted
		default:
			e = ending{kind: crashed, text: err.Error()}
		}
	case <-l.asked.Done():
		e.kind = stopped
		l.log.Tell(cf.SourceCell, "Cell %s stopping instance %s", l.c.ID, l.handle())
	case <-ctx.Done():
		e.kind = left
	}
	done()
	if e.kind == crashed || e.kind == stopped {
		x := l.c.terminate(ctx, l.handle(), exited)
		if ctx.Err() != nil {
			return ending{kind: left}
		}
		e.code = x.exit.Code
		l.out.Flush()
		if x.err == nil {
			l.log.Tell(l.out.First(), "Exit status %d%s", x.exit.Code, x.note)
		}
	}
	return e
}

// exitedWith makes the crash of an app that ended by itself.
func (l *lrp) exitedWith(ctx context.Context, x exitOf) ending {
	if ctx.Err() != nil {
		return ending{kind: left}
	}
	if l.asked.Err() != nil {
		return ending{kind: stopped}
	}
	if x.err != nil {
		return ending{kind: crashed, text: "lost sight of the container: " + words(x.err)}
	}
	l.out.Flush()
	l.log.Tell(l.out.First(), "Exit status %d%s", x.exit.Code, x.note)
	return ending{kind: crashed, code: x.exit.Code, at: x.exit.At,
		text: fmt.Sprintf("%s: Exited with status %d%s", l.out.First(), x.exit.Code, x.note)}
}

// end reports and removes. A crash is reported while its container still stands, so that the next start finds it when
// Ingot is killed before; a stop, or that there was no room, is reported when nothing is left.
func (l *lrp) end(ctx context.Context, e ending) {
	if e.kind == left {
		return
	}
	c := l.c
	c.room.Ended(l.handle())
	c.mu.Lock()
	delete(c.lrps, l.actual.Instance)
	c.mu.Unlock()
	if e.kind == crashed {
		crash := cf.Crash{ActualLRP: l.actual, ExitCode: e.code, Text: e.text, At: cmp.Or(e.at, time.Now())}
		if heard, _ := c.report(ctx, "crashed", func(ctx context.Context) error { return c.Board.Crashed(ctx, crash) }); !heard {
			return
		}
	}
	l.log.Tell(cf.SourceCell, "Cell %s destroying container for instance %s", c.ID, l.handle())
	if err := c.destroy(ctx, l.handle()); err != nil {
		l.log.Warn(cf.SourceCell, "Cell %s failed to destroy container for instance %s", c.ID, l.handle())
	} else {
		l.log.Tell(cf.SourceCell, "Cell %s successfully destroyed container for instance %s", c.ID, l.handle())
	}
	switch e.kind {
	case stopped:
		c.report(ctx, "stopped", func(ctx context.Context) error { return c.Board.Stopped(ctx, l.actual) })
	case refused:
		c.report(ctx, "refused", func(ctx context.Context) error { return c.Board.Refused(ctx, l.actual, e.text) })
	default:
		c.tellRoom(ctx)
	}
}

// tellRoom tells the board, which knows that something ended, that its container is gone.
func (c *Cell) tellRoom(ctx context.Context) {
	c.report(ctx, "room", func(ctx context.Context) error { return c.Board.Room(ctx, c.ID) })
}

// words are what a user may read of an error.
func words(err error) string {
	var e *cf.Error
	if errors.As(err, &e) && e.Public != "" {
		return e.Public
	}
	return err.Error()
}
