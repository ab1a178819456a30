// Package sql opens the platform's stores on SQLite, PostgreSQL and MySQL, and is the only place where words of an
// SQL dialect stand.
//
// It promises one way to write (DB.Write), which acknowledges only what is durable, and reads that cannot write.
// It will not know any table.
package sql

import (
	"context"
	dbsql "database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"

	"github.com/go-sql-driver/mysql" // driver "mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/mysqldialect"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"github.com/uptrace/bun/schema"
	"modernc.org/sqlite" // driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"ingot/kit/seal"
)

// Engine is the kind of database.
type Engine string

// The engines.
const (
	SQLite   Engine = "sqlite"
	Postgres Engine = "postgres"
	MySQL    Engine = "mysql"
)

// ErrClosed is the answer of a store that was closed.
var ErrClosed = errors.New("the database is closed")

// ErrNoRows is what a query for one row answers when there is none.
var ErrNoRows = dbsql.ErrNoRows

// DB is one store.
type DB struct {
	Engine Engine
	Keys   *seal.Keys // of sealed columns; set after Open, before Migrate
	read   *bun.DB
	write  *bun.DB
	queue  chan *job     // nil but on SQLite
	done   chan struct{} // the writer has ended

	mu     sync.RWMutex // held for reading while a write is put into the queue
	closed bool
	sealed []Secrets // the columns of all rooms, as Migrate named them
}

// Open opens the store at dsn: a file path for SQLite (made when missing, WAL, synchronous=FULL), postgres://... or
// mysql://... . No error tells a password.
func Open(ctx context.Context, dsn string) (*DB, error) {
	engine, err := EngineOf(dsn)
	if err != nil {
		return nil, err
	}
	db := &DB{Engine: engine}
	switch engine {
	case Postgres:
		err = db.connectPostgres(dsn)
	case MySQL:
		err = db.connectMySQL(dsn)
	default:
		err = db.openFile(dsn)
	}
	if err == nil {
		err = db.write.PingContext(ctx)
	}
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open database%s: %w", Public(dsn), withoutPassword(err, dsn))
	}
	if db.Engine == SQLite {
		db.queue, db.done = make(chan *job, 1024), make(chan struct{})
		go db.writer()
	}
	return db, nil
}

// connectPostgres has statements of one round trip: each has its values in its text, so that a prepared one would hardly ever be
// asked again. The server works for a statement with one process and without compiling it: lists are short, and other
// requests want the other cores.
func (db *DB) connectPostgres(dsn string) error {
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		return err
	}
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	db.serve(stdlib.OpenDB(*c, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SET max_parallel_workers_per_gather = 0; SET jit = off")
		return err
	})), pgdialect.New())
	return nil
}

// serve uses a server's pool.
func (db *DB) serve(pool *dbsql.DB, d schema.Dialect) {
	pool.SetMaxOpenConns(32)
	pool.SetMaxIdleConns(8)
	db.write = db.bun(pool, d)
	db.read = db.write
}

func (db *DB) bun(pool *dbsql.DB, d schema.Dialect) *bun.DB {
	return bun.NewDB(pool, d).WithQueryHook(keysHook{db})
}

func (db *DB) openFile(path string) error {
	path = strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
	const pragmas = "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=secure_delete(1)&_txlock=immediate"
	w, err := dbsql.Open("sqlite", "file:"+path+pragmas)
	if err != nil {
		return err
	}
	w.SetMaxOpenConns(1)
	db.write = db.bun(w, sqlitedialect.New())
	if err := w.Ping(); err != nil { // makes the file, so that readers find it
		return err
	}
	r, err := dbsql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)&_pragma=query_only(1)")
	if err != nil {
		return err
	}
	r.SetMaxOpenConns(8)
	r.SetMaxIdleConns(8)
	db.read = db.bun(r, sqlitedialect.New())
	return nil
}

func (db *DB) connectMySQL(dsn string) error {
	dsn, err := mysqlDSN(dsn)
	if err != nil {
		return err
	}
	pool, err := dbsql.Open("mysql", dsn)
	if err == nil {
		db.serve(pool, mysqldialect.New())
	}
	return err
}

func mysqlDSN(dsn string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", err
	}
	c := mysql.NewConfig()
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.Net, c.DBName = "tcp", strings.TrimPrefix(u.Path, "/")
	c.Addr = u.Host
	if socket := u.Query().Get("socket"); socket != "" {
		c.Net, c.Addr = "unix", socket
	} else if u.Port() == "" {
		c.Addr = net.JoinHostPort(u.Hostname(), "3306")
	}
	c.Collation = "utf8mb4_bin"
	c.ClientFoundRows = true // an update that changes nothing counts, as elsewhere
	c.Params = map[string]string{"sql_mode": "'ANSI_QUOTES,STRICT_ALL_TABLES'"}
	c.TLSConfig = u.Query().Get("tls")
	return c.FormatDSN(), nil
}

// Read gives the pool for queries. It refuses to write on SQLite.
func (db *DB) Read() *bun.DB { return db.read }

// Close waits for writes that were begun and closes the store.
func (db *DB) Close() error {
	db.mu.Lock()
	first := !db.closed
	db.closed = true
	if first && db.queue != nil {
		close(db.queue)
	}
	db.mu.Unlock()
	if !first {
		return nil
	}
	if db.queue != nil {
		<-db.done
	}
	var errs []error
	if db.write != nil {
		errs = append(errs, db.write.Close())
	}
	if db.read != nil && db.read != db.write {
		errs = append(errs, db.read.Close())
	}
	return errors.Join(errs...)
}

// LockRow holds the row of table with that guid until tx ends, so that counts below it cannot race. SQLite has one
// writer and needs none.
func (db *DB) LockRow(ctx context.Context, tx bun.Tx, table, guid string) error {
	if db.Engine == SQLite {
		return nil
	}
	var one int
	err := tx.NewSelect().Table(table).ColumnExpr("1").Where("guid = ?", guid).For("UPDATE").Scan(ctx, &one)
	if errors.Is(err, ErrNoRows) {
		return nil
	}
	return err
}

// ForUpdate makes q hold the rows that it reads until its transaction ends. SQLite has one writer and needs none.
func (db *DB) ForUpdate(q *bun.SelectQuery) *bun.SelectQuery {
	if db.Engine == SQLite {
		return q
	}
	return q.For("UPDATE")
}

// IsUnavailable tells whether err is the database's trouble and not the query's: another process holds its lock, its disk
// is full or broken, or its server cannot be reached. The same may succeed later.
func IsUnavailable(err error) bool {
	var file *sqlite.Error
	if errors.As(err, &file) {
		switch file.Code() & 0xff { // the rest of the code says more
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR:
			return true
		}
	}
	var server *net.OpError
	return errors.As(err, &server) || errors.Is(err, driver.ErrBadConn)
}

// IsUnique tells whether err is a violated unique index.
func IsUnique(err error) bool {
	if err == nil {
		return false
	}
	s := err.Error()
	return strings.Contains(s, "UNIQUE constraint failed") || strings.Contains(s, "SQLSTATE 23505") || strings.Contains(s, "Error 1062")
}
