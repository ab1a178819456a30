package sql

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// EngineOf tells which engine an address is of. What has a scheme must be a whole address: postgres://user:password@host:port/name
// or mysql://...; everything else is the path of a SQLite file.
func EngineOf(dsn string) (Engine, error) {
	scheme, _, ok := strings.Cut(dsn, "://")
	if !ok {
		return SQLite, nil
	}
	engine, known := map[string]Engine{"postgres": Postgres, "postgresql": Postgres, "mysql": MySQL}[scheme]
	if !known {
		return "", errors.New("the address of a database begins with postgres:// or mysql://")
	}
	u, err := url.Parse(dsn)
	if err != nil { // its text has the password
		return "", fmt.Errorf("the address of the database is not %s://USER:PASSWORD@HOST:PORT/NAME (special characters are written %%XX)", scheme)
	}
	if strings.Trim(u.Path, "/") == "" || u.Host == "" && u.Query().Get("host") == "" && u.Query().Get("socket") == "" {
		return "", fmt.Errorf("the address of the database lacks its host or its name: %s://USER:PASSWORD@HOST:PORT/NAME", scheme)
	}
	return engine, nil
}

// Public is the part of a server's address that may be told: " on HOST:PORT/NAME". It is empty for a file.
func Public(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" {
		return ""
	}
	return " on " + u.Host + u.Path
}

// Password is the password in an address, or "".
func Password(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return ""
	}
	p, _ := u.User.Password()
	return cmp.Or(p, u.Query().Get("password"))
}

// withoutPassword is err, with a text in which the address's password does not stand.
func withoutPassword(err error, dsn string) error {
	p := Password(dsn)
	if p == "" {
		return err
	}
	text := err.Error()
	for _, form := range []string{p, url.QueryEscape(p), url.PathEscape(p)} {
		text = strings.ReplaceAll(text, form, "xxxxx")
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}
