package role

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ingot/kit/lock"
	"ingot/kit/seal"
	"ingot/kit/sql"
	"ingot/kit/web"
)

// keyring keeps what is sealed up with the newest key, in the background.
type keyring struct {
	Keys   *seal.Keys
	Stores []*sql.DB

	settled time.Duration // see drop; 0 = twice the longest transaction
	wake    chan struct{}
	ready   atomic.Bool // the fields are set
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// resealEvery finds what a writer sealed with the older key in the moment of a rotation.
const resealEvery = 10 * time.Minute

func (k *keyring) Start(context.Context) error {
	ctx, stop := context.WithCancel(context.Background())
	k.wake, k.stop = make(chan struct{}, 1), stop
	k.ready.Store(true)
	k.done.Go(func() {
		tick := time.NewTicker(resealEvery)
		defer tick.Stop()
		for {
			k.reseal(ctx)
			select {
			case <-ctx.Done():
				return
			case <-k.wake:
			case <-tick.C:
			}
		}
	})
	return nil
}

func (k *keyring) Stop(context.Context) error {
	if k.stop != nil {
		k.stop()
		k.done.Wait()
	}
	return nil
}

func (k *keyring) reseal(ctx context.Context) {
	total := 0
	for _, db := range k.Stores {
		n, err := db.Reseal(ctx)
		if err != nil && ctx.Err() == nil {
			slog.Error("encrypt secrets with the newest key", "err", err)
		}
		total += n
	}
	if total > 0 {
		slog.Info("secrets are encrypted with the newest key", "key", k.Keys.Newest(), "changed", total)
	}
}

// keyState is one key, as `ingot keys list` shows it.
type keyState struct {
	Label   string    `json:"label"`
	Newest  bool      `json:"newest"`
	Made    time.Time `json:"made_at"`
	Retired time.Time `json:"retired_at,omitzero"`
	Sealed  int64     `json:"sealed"` // values; -1 where nobody can tell
}

func stateOf(k seal.Key, sealed int64) keyState {
	return keyState{k.Label, k.Retired.IsZero(), k.Made, k.Retired, sealed}
}

func (k *keyring) list(ctx context.Context) (out []keyState, err error) {
	for _, one := range k.Keys.List() {
		s := stateOf(one, 0)
		for _, db := range k.Stores {
			n, err := db.Sealed(ctx, one.Label)
			if err != nil {
				return nil, err
			}
			s.Sealed += n
		}
		out = append(out, s)
	}
	return out, nil
}

// drop forgets a key that nothing needs any more: no value is sealed with it, and so long after the rotation nobody writes what
// was sealed before it.
func (k *keyring) drop(ctx context.Context, label string) error {
	all, err := k.list(ctx)
	if err != nil {
		return err
	}
	for _, one := range all {
		if one.Label != label || one.Newest {
			continue
		}
		if wait := cmp.Or(k.settled, 2*time.Minute) - time.Since(one.Retired); wait > 0 {
			return fmt.Errorf("key %s was in use until a moment ago; try again in %s", label, wait.Round(time.Second))
		}
		if one.Sealed > 0 {
			return fmt.Errorf("%d values are still encrypted with key %s; `ingot keys list` shows how many are left", one.Sealed, label)
		}
		for _, db := range k.Stores {
			if err := db.Forget(ctx, label); err != nil {
				return err
			}
		}
	}
	return k.Keys.Drop(label)
}

// ServeHTTP answers on the operator's socket: GET lists, POST rotates, DELETE ?label= drops.
func (k *keyring) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var err error
	switch {
	case !k.ready.Load():
		err = errors.New("ingot is still starting")
	case r.Method == http.MethodPost:
		if _, err = k.Keys.Rotate(); err == nil {
			select {
			case k.wake <- struct{}{}:
			default:
			}
		}
	case r.Method == http.MethodDelete:
		err = k.drop(r.Context(), r.FormValue("label"))
	}
	var all []keyState
	if err == nil {
		all, err = k.list(r.Context())
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	_ = web.JSON(w, http.StatusOK, all) // the asker went away
}

func keysCommand(c *Config) *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "List, rotate and drop the keys that encrypt secrets in the databases",
		Example: "  ingot keys list\n  ingot keys rotate\n  ingot keys drop 20260131-abc123"}
	cmd.PersistentFlags().StringVar(&c.KeyFile, "key-file", c.KeyFile, "file of the keys (default DATA/keys/seal.json)")
	var asJSON bool
	cmd.PersistentFlags().BoolVar(&asJSON, "json", false, "as JSON")
	verb := func(use, short, method string, args cobra.PositionalArgs) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
			all, err := askKeys(cmd.Context(), *c, method, strings.Join(args, ""))
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd, all)
			}
			return printKeys(cmd.OutOrStdout(), all)
		}}
	}
	cmd.AddCommand(verb("list", "List the keys, and how many values each encrypts", http.MethodGet, cobra.NoArgs),
		verb("rotate", "Make a new key; what is encrypted already follows in the background", http.MethodPost, cobra.NoArgs),
		verb("drop LABEL", "Remove a key with which nothing is encrypted any more; older backups still need it", http.MethodDelete, cobra.ExactArgs(1)))
	return cmd
}

func printKeys(out io.Writer, all []keyState) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprint(w, "key\tmade\tencrypts\n")
	for _, k := range all {
		values := "?"
		if k.Sealed >= 0 {
			values = fmt.Sprint(k.Sealed)
		}
		if k.Newest {
			values += ", and all that is new"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", k.Label, k.Made.Format(time.RFC3339), values)
	}
	return w.Flush()
}

// askKeys asks the running Ingot; where none runs, it reads or changes the file itself.
func askKeys(ctx context.Context, c Config, method, label string) (all []keyState, err error) {
	if lock.Holder(c.Data) == 0 {
		return offlineKeys(c, method)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://ingot/keys?label="+url.QueryEscape(label), nil)
	if err != nil {
		return nil, err
	}
	res, err := adminClient(c).Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(res.Body, 4096))
		return nil, errors.Join(err, errors.New(string(b)))
	}
	return all, json.NewDecoder(res.Body).Decode(&all)
}

func offlineKeys(c Config, method string) (all []keyState, err error) {
	if method == http.MethodDelete {
		return nil, errors.New("only a running ingot can tell whether a key is still needed; start it with `ingot up`")
	}
	if _, err := seal.Load(c.keyFile()); err != nil {
		return nil, fmt.Errorf("%w; `ingot up` makes it", err)
	}
	held, err := lock.Folder(c.Data)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, held.Release()) }()
	k, err := seal.Load(c.keyFile()) // nobody changes it any more
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		if _, err := k.Rotate(); err != nil {
			return nil, err
		}
	}
	for _, one := range k.List() {
		all = append(all, stateOf(one, -1))
	}
	return all, nil
}
