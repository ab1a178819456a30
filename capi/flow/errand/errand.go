// Package errand holds the verbs of tasks: making, handing over, ending and cancelling them.
//
// It promises that a task is handed to the scheduler once, as long as its row says PENDING, that whatever call is lost is
// made again by Converge, and that every task ends: the scheduler tells of those that it took until it is heard, and the
// others are given up after a time. decisions/0007-tasks.md has the order of steps. It does not know which scheduler runs tasks.
package errand

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/flow/recipe"
	"ingot/capi/route"
	"ingot/capi/task"
	"ingot/cf"
	"ingot/kit/run"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/quota"
	"ingot/rest/row"
)

// What becomes of tasks that did not reach the scheduler, in Cloud Controller's words, and after how long.
const (
	taskRefused   = "Unable to request task to be run"
	taskExpired   = "Task expired in PENDING state"
	taskCancelled = "task was cancelled"
	taskLate      = 5 * time.Minute // of a PENDING one
	cancelLate    = time.Minute     // of a CANCELING one that the scheduler never speaks of
)

// Errands holds the verbs. Set its fields, then take its Routes.
type Errands struct {
	DB        *sql.DB
	Scheduler cf.Scheduler
	Gate      *run.Gate
	App       *app.Family
	Build     *build.Family
	Task      *task.Family
	// Place is where an app lives and what its running containers are told.
	Place func(ctx context.Context, a *app.App) (recipe.Place, error)

	locks run.Keyed // by task
}

// Routes are the endpoints of the verbs.
func (f *Errands) Routes() []rest.Route {
	return []rest.Route{
		{Pattern: "POST /v3/apps/{guid}/tasks", Handle: f.create},
		{Pattern: "POST /v3/tasks/{guid}/actions/cancel", Handle: f.cancel},
		{Pattern: "PUT /v3/tasks/{guid}/cancel", Handle: f.cancel},
	}
}

type body struct {
	name, command, droplet, process, user rest.Opt[string]
	memory, disk, rate                    rest.Opt[int]
	meta                                  row.Patch
}

func (t *body) Take(b *rest.Body) {
	b.Metadata(&t.meta)
	app.Number(b, "disk_in_mb", b.Raw("disk_in_mb"), &t.disk, 1)
	app.Number(b, "memory_in_mb", b.Raw("memory_in_mb"), &t.memory, 1)
	const rate = "log_rate_limit_in_bytes_per_second"
	if app.Number(b, rate, b.Raw(rate), &t.rate, -1<<53); t.rate.Given() && t.rate.V < -1 {
		b.Wrong(rate, "must be greater than -2")
	}
	b.GUID("droplet_guid", &t.droplet)
	b.Nested("template", func(in *rest.Body) {
		in.Nested("process", func(p *rest.Body) { p.String("guid", &t.process) })
	})
	if n := utf8.RuneCountInString(t.process.V); b.Has("template") && (n < 1 || n > 200) {
		if !t.process.Given() {
			b.Wrong("template_process_guid", "must be a string")
		}
		b.Wrong("template_process_guid", "must be between 1 and 200 characters")
	}
	b.String("name", &t.name)
	b.String("command", &t.command)
	if !t.command.Given() && !b.Has("template") && b.Sound("command") {
		b.Wrong("command", "No command or template provided")
	}
	b.String("user", &t.user)
	if n := utf8.RuneCountInString(t.user.V); t.user.Given() && (n < 1 || n > 255) {
		b.Wrong("user", "must be between 1 and 255 characters")
	}
}

// create is POST /v3/apps/:guid/tasks.
func (f *Errands) create(c *rest.Call) error {
	a, err := f.App.Apps.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := access.Enabled(c.Ctx(), c.DB(), "task_creation"); err != nil {
		return err
	}
	var b body
	if err := rest.Take(c, &b); err != nil {
		return err
	}
	if err := c.MayWriteSpace(a.SpaceGUID, access.SpaceWriters...); err != nil {
		return err
	}
	t, err := f.row(c, a, &b)
	if err != nil {
		return err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		h, err := quota.Hold(ctx, f.DB, tx, a.SpaceGUID)
		if err != nil {
			return err
		}
		if err := c.Lock(ctx, tx, a); err != nil {
			return err
		}
		if err := task.Insert(ctx, tx, t); err != nil {
			return err
		}
		org, space, err := h.Used(ctx, tx, f.App.Counters...)
		if err != nil {
			return err
		}
		if err := h.Task(quota.Size{MemoryMB: t.MemoryMB, LogRate: t.LogRate}, org, space); err != nil {
			return err
		}
		return f.Task.Record(ctx, tx, "create", t)
	})
	if err != nil {
		return err
	}
	f.Gate.Step("task created")
	if err := f.run(context.WithoutCancel(c.Ctx()), t); err != nil { // convergence tries again
		slog.Error("hand a task to the scheduler", "task", t.GUID, "err", err)
	}
	return f.Task.Tasks.Show(c, http.StatusAccepted, t)
}

var taskName = regexp.MustCompile(`^[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]+$`)

// row makes the row of a task of what was asked, of its template, and of CF's defaults.
func (f *Errands) row(c *rest.Call, a *app.App, b *body) (*task.Task, error) {
	t := &task.Task{AppGUID: a.GUID, SpaceGUID: a.SpaceGUID, State: task.Pending, Name: b.name.V, User: "vcap",
		MemoryMB: app.DefaultMemoryMB, DiskMB: app.DefaultDiskMB, LogRate: -1, Droplet: b.droplet.Or(a.Droplet)}
	if b.droplet.Given() {
		d, err := f.Build.Droplets.FindWhere(c, "guid = ? AND app_guid = ?", b.droplet.V, a.GUID)
		if err != nil {
			return nil, err
		}
		if d.State != build.Staged {
			return nil, rest.Unprocessable("Task must have a droplet. Specify droplet or assign current droplet to app.")
		}
	}
	if t.Droplet == "" {
		return nil, rest.Unprocessable("Task must have a droplet. Specify droplet or assign current droplet to app.")
	}
	if b.disk.Or(0) > f.App.MaxDiskMB {
		return nil, rest.Unprocessable("Cannot request disk_in_mb greater than %d", f.App.MaxDiskMB)
	}
	if b.process.Given() {
		p, err := f.App.Processes.FindWhere(c, "guid = ? AND app_guid = ?", b.process.V, a.GUID)
		if err != nil {
			return nil, err
		}
		if t.Command.V = p.Command; p.Command == "" {
			t.Command.V = p.Detected
		}
		t.MemoryMB, t.DiskMB, t.LogRate = p.MemoryMB, p.DiskMB, p.LogRate
	}
	t.Command.V, t.User = b.command.Or(t.Command.V), b.user.Or(t.User)
	t.MemoryMB, t.DiskMB, t.LogRate = b.memory.Or(t.MemoryMB), b.disk.Or(t.DiskMB), int64(b.rate.Or(int(t.LogRate)))
	if !b.name.Set {
		var random [4]byte
		_, _ = rand.Read(random[:]) // it never fails
		t.Name = hex.EncodeToString(random[:])
	}
	if faults := faultsOf(t); faults != nil {
		return nil, rest.Unprocessable("%s", strings.Join(faults, ", "))
	}
	return t, b.meta.Apply(t.Meta())
}

// faultsOf says what is wrong with a task, as Sequel puts it.
func faultsOf(t *task.Task) (faults []string) {
	add := func(is bool, words string) {
		if is {
			faults = append(faults, words)
		}
	}
	add(!taskName.MatchString(t.Name), "name format")
	add(strings.TrimSpace(t.Name) == "", "name presence")
	add(utf8.RuneCountInString(t.Name) > 255, "name is too long (maximum is 255 characters)")
	add(strings.TrimSpace(t.Command.V) == "", "command presence")
	add(utf8.RuneCountInString(t.Command.V) > 4096, "command must be shorter than 4097 characters")
	add(t.User != "vcap", "user invalid (requested user "+t.User+" not allowed, permitted users are: 'vcap')")
	return faults
}

// run hands a PENDING task to the scheduler. It may be called again for the same task, by two at a time: each looks
// first whether the other has done it, and the scheduler leaves a task that it knows alone.
func (f *Errands) run(ctx context.Context, t *task.Task) error {
	defer f.locks.Lock(t.GUID)()
	var now []*task.Task
	err := f.DB.Read().NewSelect().Model(&now).Where("guid = ? AND state = ?", t.GUID, task.Pending).Scan(ctx)
	if err != nil || len(now) == 0 {
		return err
	}
	if time.Since(t.CreatedAt.Time()) > taskLate {
		return f.fail(ctx, t, taskExpired)
	}
	what, err := f.recipe(ctx, now[0])
	if err == nil {
		err = f.Scheduler.Run(ctx, what)
	}
	switch cf.KindOf(err) {
	case cf.KindNotFound, cf.KindInvalid, cf.KindUnprocessable: // it can never run
		if err != nil {
			return errors.Join(err, f.fail(ctx, t, taskRefused))
		}
	}
	if err != nil {
		return err
	}
	f.Gate.Step("task handed over")
	return f.change(ctx, t, func(ctx context.Context, tx bun.Tx) error { return f.Task.Begin(ctx, tx, t) })
}

func (f *Errands) recipe(ctx context.Context, t *task.Task) (cf.Task, error) {
	a, err := app.ByGUID(ctx, f.DB.Read(), t.AppGUID)
	if err != nil {
		return cf.Task{}, err
	}
	d, err := build.DropletByGUID(ctx, f.DB.Read(), t.Droplet)
	if err != nil {
		return cf.Task{}, err
	}
	if d == nil || d.State != build.Staged {
		return cf.Task{}, rest.NotFound("droplet")
	}
	mapped, err := route.OfApp(ctx, f.DB.Read(), a.GUID)
	if err != nil {
		return cf.Task{}, err
	}
	at, err := f.Place(ctx, a)
	if err != nil {
		return cf.Task{}, err
	}
	return recipe.Task(a, t, d, recipe.URIs(mapped), at), nil
}

// change reads a task again and holds it while fn changes it. A task that is gone is left alone.
func (f *Errands) change(ctx context.Context, t *task.Task, fn func(ctx context.Context, tx bun.Tx) error) error {
	return f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if ok, err := task.Lock(ctx, f.DB, tx, t); err != nil || !ok {
			return err
		}
		return fn(ctx, tx)
	})
}

// fail ends a task that the scheduler does not speak of, after making sure that it never will run it.
func (f *Errands) fail(ctx context.Context, t *task.Task, reason string) error {
	if err := f.Scheduler.Cancel(ctx, cf.TaskID(t.GUID)); err != nil {
		return err
	}
	return f.change(ctx, t, func(ctx context.Context, tx bun.Tx) error { return f.Task.End(ctx, tx, t, reason) })
}

// Ended takes the outcome of a task.
func (f *Errands) Ended(ctx context.Context, done cf.Task) error {
	t := new(task.Task)
	t.GUID = string(done.ID)
	return f.change(ctx, t, func(ctx context.Context, tx bun.Tx) error {
		if err := f.Task.Begin(ctx, tx, t); err != nil { // its outcome may be told before it is known to have begun
			return err
		}
		reason := ""
		if done.Failed {
			if reason = done.Reason; reason == "" {
				reason = "task failed"
			}
		}
		return f.Task.End(ctx, tx, t, reason)
	})
}

// cancel is POST /v3/tasks/:guid/actions/cancel, and PUT /v3/tasks/:guid/cancel.
func (f *Errands) cancel(c *rest.Call) error {
	t, err := f.Task.Tasks.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := c.MayWriteSpace(t.SpaceGUID, access.AppManagers...); err != nil {
		return err
	}
	gone := true
	err = f.change(c.Ctx(), t, func(ctx context.Context, tx bun.Tx) error {
		if gone = false; t.Final() {
			return rest.Unprocessable("Task state is %s and therefore cannot be canceled", t.State)
		}
		t.State = task.Canceling
		if err := row.Update(ctx, tx, t); err != nil {
			return err
		}
		return f.Task.Record(ctx, tx, "cancel", t)
	})
	if err == nil && gone {
		err = rest.NotFound("task")
	}
	if err != nil {
		return err
	}
	f.Gate.Step("task cancelling")
	if err := f.end(context.WithoutCancel(c.Ctx()), t); err != nil { // convergence tries again
		slog.Error("cancel a task", "task", t.GUID, "err", err)
	}
	return f.Task.Tasks.Show(c, http.StatusAccepted, t)
}

// end asks the scheduler to end a task, when nobody is about to hand it over any more.
func (f *Errands) end(ctx context.Context, t *task.Task) error {
	defer f.locks.Lock(t.GUID)()
	return f.Scheduler.Cancel(ctx, cf.TaskID(t.GUID))
}

// Converge hands over what the scheduler did not get yet, and ends what shall end. The outcome of a RUNNING task
// is told until it is heard; a CANCELING one of which nothing is told never was there.
func (f *Errands) Converge(ctx context.Context) error {
	ts, err := task.Open(ctx, f.DB.Read(), "", task.Pending, task.Canceling)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range ts {
		switch {
		case t.State == task.Pending:
			errs = append(errs, f.run(ctx, t))
		case time.Since(t.UpdatedAt.Time()) > cancelLate:
			errs = append(errs, f.fail(ctx, t, taskCancelled))
		default:
			errs = append(errs, f.end(ctx, t))
		}
	}
	return errors.Join(errs...)
}

// Abort ends the tasks of an app that is being deleted.
func (f *Errands) Abort(ctx context.Context, guid string) error {
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := f.DB.LockRow(ctx, tx, "app_apps", guid); err != nil {
			return err
		}
		return f.Task.Abort(ctx, f.DB, tx, guid)
	})
	if err != nil {
		return err
	}
	ts, err := task.Open(ctx, f.DB.Read(), guid)
	if err != nil {
		return err
	}
	for _, t := range ts {
		if err := f.end(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// ErrNew says that tasks must be aborted once more before their app can be deleted.
var ErrNew = errors.New("a task was created meanwhile")

// Purge deletes the tasks of an app that is held, once all were aborted.
func (f *Errands) Purge(ctx context.Context, tx bun.Tx, guid string) error {
	if ts, err := task.Open(ctx, tx, guid, task.Pending, task.Running); err != nil || len(ts) > 0 {
		return errors.Join(err, ErrNew)
	}
	return f.Task.Purge(ctx, tx, guid)
}
