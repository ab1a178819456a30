package app

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/uptrace/bun"

	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/quota"
	"ingot/rest/row"
)

// Change says what shall change of a process; nil leaves what is there. Command, User and endpoints: "" forgets the
// present one; times: 0 does.
type Change struct {
	Command, User               *string
	Instances, MemoryMB, DiskMB *int
	LogRate                     *int64
	Health, Readiness           CheckChange
}

// CheckChange is the part about a health check.
type CheckChange struct {
	Type, Endpoint                *string
	Timeout, Invocation, Interval *int
}

// Apply puts the change into the row.
func (ch Change) Apply(p *Process) {
	put(&p.Command, ch.Command)
	if put(&p.User, ch.User); p.User == "" {
		p.User = "vcap"
	}
	put(&p.Instances, ch.Instances)
	put(&p.MemoryMB, ch.MemoryMB)
	put(&p.DiskMB, ch.DiskMB)
	put(&p.LogRate, ch.LogRate)
	put(&p.HealthTimeout, ch.Health.Timeout)
	ch.Health.apply(&p.HealthType, &p.HealthEndpoint, &p.HealthInvocation, &p.HealthInterval)
	ch.Readiness.apply(&p.ReadinessType, &p.ReadinessEndpoint, &p.ReadinessInvocation, &p.ReadinessInterval)
}

// maxHealthTimeout is the most that an instance may take to become healthy, in seconds: the default of Cloud Controller's
// maximum_health_check_timeout.
const maxHealthTimeout = 180

// Allowed refuses what no process may have.
func (ch Change) Allowed() error {
	if t := ch.Health.Timeout; t != nil && *t > maxHealthTimeout {
		return rest.Unprocessable("health_check_timeout Maximum exceeded: max %ds", maxHealthTimeout)
	}
	return nil
}

func (k CheckChange) apply(kind, endpoint *string, invocation, interval *int) {
	put(kind, k.Type)
	put(invocation, k.Invocation)
	put(interval, k.Interval)
	put(endpoint, k.Endpoint)
	switch {
	case *kind != "http":
		*endpoint = ""
	case *endpoint == "":
		*endpoint = "/"
	}
}

func put[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

type processBody struct {
	command, user     rest.Opt[string]
	health, readiness checkBody
	meta              row.Patch
}

type checkBody struct {
	kind, endpoint                rest.Opt[string]
	timeout, invocation, interval rest.Opt[int]
}

func (t *processBody) Take(b *rest.Body) {
	b.Metadata(&t.meta)
	for _, o := range []struct {
		key  string
		o    *rest.Opt[string]
		most int
	}{{"command", &t.command, 4096}, {"user", &t.user, 255}} {
		b.String(o.key, o.o)
		if n := len([]rune(o.o.V)); o.o.Given() && (n < 1 || n > o.most) {
			b.Wrong(o.key, "must be between 1 and %d characters", o.most)
		}
	}
	if u := t.user.Or("vcap"); u != "vcap" && u != "" {
		b.Fault("user invalid (requested user %s not allowed, permitted users are: 'vcap')", u)
	}
	t.health.take(b, "health_check", true)
	t.readiness.take(b, "readiness_health_check", false)
}

func (t *checkBody) take(b *rest.Body, key string, timeout bool) {
	b.Nested(key, func(in *rest.Body) {
		in.String("type", &t.kind)
		if in.Has("type") && t.kind.V != "port" && t.kind.V != "process" && t.kind.V != "http" {
			b.Wrong(key+"_type", `must be "port", "process", or "http"`)
		}
		in.Nested("data", func(d *rest.Body) {
			if timeout {
				Number(b, key+"_timeout", d.Raw("timeout"), &t.timeout, 1)
			}
			Number(b, key+"_invocation_timeout", d.Raw("invocation_timeout"), &t.invocation, 1)
			Number(b, key+"_interval", d.Raw("interval"), &t.interval, 1)
			d.String("endpoint", &t.endpoint)
			if t.endpoint.Given() && (!strings.HasPrefix(t.endpoint.V, "/") || strings.ContainsAny(t.endpoint.V, " \t\r\n\\^`{}|<>\"#")) {
				b.Wrong(key+"_endpoint", "must be a valid URI path")
			}
			if len(t.endpoint.V) > 255 {
				b.Wrong(key+"_endpoint", "is too long (maximum is 255 characters)")
			}
		})
	})
}

func (t *checkBody) change() CheckChange {
	return CheckChange{Type: given(t.kind), Endpoint: given(t.endpoint), Timeout: given(t.timeout),
		Invocation: given(t.invocation), Interval: given(t.interval)}
}

// given is nil for a key that is absent, and the zero value for null.
func given[T any](o rest.Opt[T]) *T {
	if !o.Set {
		return nil
	}
	return &o.V
}

// Number reads a whole number of at least low, which Cloud Controller also takes as a text: "256".
func Number(b *rest.Body, words string, raw json.RawMessage, o *rest.Opt[int], low int) {
	if raw == nil {
		return
	}
	if o.Set = true; string(raw) == "null" {
		o.Null = true
		return
	}
	s := string(raw)
	if s[0] == '"' && json.Unmarshal(raw, &s) != nil {
		s = ""
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	switch {
	case err != nil:
		b.Wrong(words, "is not a number")
	case n != math.Trunc(n):
		b.Wrong(words, "must be an integer")
	case n < float64(low) && low == 1 && strings.HasSuffix(words, "_in_mb"):
		b.Wrong(words, "must be greater than 0")
	case n < float64(low):
		b.Wrong(words, "must be greater than or equal to %d", low)
	case n > math.MaxInt32 && low >= 0:
		b.Wrong(words, "must be less than or equal to %d", math.MaxInt32)
	case n > 1<<53: // the log rate limit; more than any machine writes
		b.Wrong(words, "must be less than or equal to %d", math.MaxInt64)
	default:
		o.V = int(n)
	}
}

func (f *Family) updateProcess(c *rest.Call, p *Process) error {
	if err := c.MayWriteSpace(p.SpaceGUID, access.AppManagers...); err != nil {
		return err
	}
	var t processBody
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	ch := Change{Command: given(t.command), User: given(t.user), Health: t.health.change(), Readiness: t.readiness.change()}
	if err := ch.Allowed(); err != nil {
		return err
	}
	err := f.change(c, p, "update", func() error {
		ch.Apply(p)
		return t.meta.Apply(p.Meta())
	})
	if err == nil {
		f.Say(p.AppGUID, "Updating process: %q", p.Type)
	}
	return err
}

// change writes a changed process with its event.
func (f *Family) change(c *rest.Call, p *Process, what string, fn func() error) error {
	data := censored(c.Body)
	return c.Change(p, func(ctx context.Context, tx bun.Tx) error {
		if err := Settled(ctx, tx, p, what); err != nil {
			return err
		}
		if err := fn(); err != nil {
			return err
		}
		return f.RecordProcess(ctx, tx, what, p, data)
	})
}

// RecordProcess writes the event audit.app.process.<what>; data may be nil.
func (f *Family) RecordProcess(ctx context.Context, tx bun.Tx, what string, p *Process, data map[string]any) error {
	a, err := ByGUID(ctx, tx, p.AppGUID)
	if err != nil {
		return err
	}
	t, err := Target(ctx, tx, a)
	if err != nil {
		return err
	}
	all := map[string]any{"process_guid": p.GUID, "process_type": p.Type}
	for k, v := range data {
		all[k] = v
	}
	return event.Record(ctx, tx, "audit.app.process."+what, t, all)
}

type scaleBody struct{ instances, memory, disk, rate rest.Opt[int] }

func (t *scaleBody) Take(b *rest.Body) {
	Number(b, "instances", b.Raw("instances"), &t.instances, 0)
	Number(b, "memory_in_mb", b.Raw("memory_in_mb"), &t.memory, 1)
	Number(b, "disk_in_mb", b.Raw("disk_in_mb"), &t.disk, 1)
	Number(b, "log_rate_limit_in_bytes_per_second", b.Raw("log_rate_limit_in_bytes_per_second"), &t.rate, -1)
}

func (f *Family) scale(c *rest.Call, p *Process) error {
	if err := c.MayWriteSpace(p.SpaceGUID, access.AppManagers...); err != nil {
		return err
	}
	if err := access.Enabled(c.Ctx(), c.DB(), "app_scaling"); err != nil {
		return err
	}
	var t scaleBody
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	err := c.Write(func(ctx context.Context, tx bun.Tx) error {
		h, err := quota.Hold(ctx, c.Store(), tx, p.SpaceGUID)
		if err != nil {
			return err
		}
		if err := c.Lock(ctx, tx, p); err != nil {
			return err
		}
		if err := Settled(ctx, tx, p, "scale"); err != nil {
			return err
		}
		p.Instances, p.MemoryMB, p.DiskMB = t.instances.Or(p.Instances), t.memory.Or(p.MemoryMB), t.disk.Or(p.DiskMB)
		p.LogRate = int64(t.rate.Or(int(p.LogRate)))
		if err := row.Update(ctx, tx, p); err != nil {
			return err
		}
		a, err := ByGUID(ctx, tx, p.AppGUID)
		if err != nil {
			return err
		}
		if err := Bears(ctx, tx, p); err != nil && t.memory.Given() {
			return err
		}
		if err := f.Fits(ctx, tx, h, a, p); err != nil {
			return err
		}
		if err := f.Account(ctx, tx, a, p); err != nil {
			return err
		}
		return f.RecordProcess(ctx, tx, "scale", p, censored(c.Body))
	})
	if err != nil {
		return err
	}
	f.Say(p.AppGUID, "Scaling process: %q", p.Type)
	f.Changed(c.Ctx(), p.AppGUID)
	return f.Processes.Show(c, http.StatusAccepted, p)
}
