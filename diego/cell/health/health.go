// Package health asks an instance whether it is well: by its port or by HTTP, from the host, as Diego's healthcheck does
// from inside.
//
// It promises CF's words for what is wrong. It will not decide what follows from it.
package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"ingot/cf"
)

// Check is a health check of one instance.
type Check struct {
	cf.HealthCheck
	Address string // the container's own
	Ports   []int  // all of them must answer; HTTP is asked at the first one only
}

// Every is the time between two tries once the instance is well.
func (c Check) Every() time.Duration { return or(c.Interval, 30*time.Second) }

// StartIn is how long the instance may take to become well.
func (c Check) StartIn() time.Duration { return or(c.Timeout, time.Minute) }

func or(d, fallback time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return fallback
}

// Try asks once.
func (c Check) Try(ctx context.Context) error { return c.try(ctx, c.patience()) }

func (c Check) patience() time.Duration { return or(c.InvocationTimeout, time.Second) }

// try is Try that waits for the connection no longer than connect.
func (c Check) try(ctx context.Context, connect time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, c.patience())
	defer cancel()
	dialer := &net.Dialer{Timeout: connect}
	switch c.Type {
	case "port":
		for _, p := range c.Ports {
			if err := c.port(ctx, p, dialer); err != nil {
				return err
			}
		}
	case "http":
		if len(c.Ports) > 0 {
			return c.http(ctx, c.Ports[0], dialer)
		}
	}
	return nil
}

func (c Check) port(ctx context.Context, port int, dialer *net.Dialer) error {
	addr := net.JoinHostPort(c.Address, strconv.Itoa(port))
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err == nil {
		return conn.Close()
	}
	if timedOut(ctx, err) {
		return fmt.Errorf("failed to make TCP connection to %s: timed out after %.2f seconds", addr, dialer.Timeout.Seconds())
	}
	return fmt.Errorf("failed to make TCP connection to %s: %w", addr, err)
}

func (c Check) http(ctx context.Context, port int, dialer *net.Dialer) error {
	path := c.Endpoint
	if !strings.HasPrefix(path, "/") { // "@elsewhere" would be another host
		path = "/" + path
	}
	failed := fmt.Sprintf("failed to make HTTP request to '%s' on port %d: ", path, port)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(c.Address, strconv.Itoa(port))+path, nil)
	if err != nil {
		return fmt.Errorf("failed to create an HTTP request to '%s' on port %d", path, port)
	}
	r.Header.Set("User-Agent", "diego-healthcheck")
	r.Header.Set("X-Forwarded-Proto", "https")
	start := time.Now()
	client := http.Client{
		Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, DisableCompression: true, // a kept connection says nothing of the listener
			MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(to *http.Request, via []*http.Request) error {
			if to.URL.Host != via[0].URL.Host || len(via) >= 10 { // an app must not send the host to other places
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	answer, err := client.Do(r)
	if err != nil {
		if timedOut(ctx, err) {
			return fmt.Errorf("%stimed out after %.2f seconds", failed, c.patience().Seconds())
		}
		return errors.New(failed + "connection refused")
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20)) // some servers complain of clients that do not read
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%sreceived status code %d in %dms", failed, answer.StatusCode, time.Since(start).Milliseconds())
	}
	return nil
}

func timedOut(ctx context.Context, err error) bool {
	var n net.Error
	return ctx.Err() != nil || errors.As(err, &n) && n.Timeout()
}

// Between is the time between two tries of an instance that has not been well since so long: short at first, so that a
// quick one is seen at once, then a tenth of the time that it took already, and never more than most.
func Between(since, most time.Duration) time.Duration {
	return min(max(20*time.Millisecond, since/10), most)
}

// Await tries until the instance is well; the error after the check's time to start is CF's.
func (c Check) Await(ctx context.Context) error {
	late := time.NewTimer(c.StartIn())
	defer late.Stop()
	start := time.Now()
	for try := 0; ; try++ {
		// The first packet to a new container may be lost; TCP sends the second one a second later.
		err := c.try(ctx, min(c.patience(), max(100*time.Millisecond, time.Since(start))))
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return fmt.Errorf("Timed out after %s (%d attempts) waiting for startup check to succeed: %w", c.StartIn(), try+1, err) //nolint:staticcheck // CF's words
		case <-time.After(Between(time.Since(start), 250*time.Millisecond)):
		}
	}
}
