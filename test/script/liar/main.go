// Command liar is an app that breaks HTTP in the way that the path asks for; /ok is well. With the arguments probe, an
// address and a host it asks instead: for /ok of that host at that address, again and again, and prints a line each, with
// the milliseconds that it took, or what went wrong.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// answers are what a path gets, byte by byte; the connection is closed then.
var answers = map[string]string{
	"/ok":       "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n",
	"/closes":   "",
	"/garbage":  "\x00\x01\x02 I speak no HTTP\r\n\r\n",
	"/half":     "HTTP/1.1 200 OK\r\nContent-Le",
	"/short":    "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort",
	"/lengths":  "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nok\nxx",
	"/status":   "HTTP/1.1 99999 Big\r\nContent-Length: 0\r\n\r\n",
	"/smuggle":  "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen",
	"/headers":  "HTTP/1.1 200 OK\r\nX-Big: " + strings.Repeat("x", 4<<20) + "\r\n\r\n",
	"/chunks":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nno size\r\n0\r\n\r\n",
	"/continue": strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 10_000),
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "probe" {
		probe(os.Args[2], os.Args[3])
		return
	}
	l, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		log.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(c)
	}
}

func serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return // a health check
	}
	answer, known := answers[r.URL.Path]
	if !known { // silence, until the other side has had enough
		log.Print("asked for ", r.URL.Path)
		_, _ = io.Copy(io.Discard, c)
		log.Print("left alone on ", r.URL.Path)
		return
	}
	_, _ = io.WriteString(c, answer)
}

func probe(address, host string) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
	for {
		began := time.Now()
		resp, err := client.Get("https://" + host + "/ok")
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if err == nil && resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %s", resp.Status)
			}
		}
		if err != nil {
			fmt.Println(err)
		} else {
			fmt.Println(float64(time.Since(began)) / 1e6)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
