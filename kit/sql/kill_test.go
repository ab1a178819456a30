package sql

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestMain is also the process that TestKill kills: with INGOT_SQL_CHILD it writes things until then, and says each
// that was acknowledged.
func TestMain(m *testing.M) {
	path := os.Getenv("INGOT_SQL_CHILD")
	if path == "" {
		os.Exit(m.Run())
	}
	db, err := Open(context.Background(), path)
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d", w, i)
				if err := db.Write(context.Background(), add(name)); err != nil {
					panic(err)
				}
				mu.Lock()
				fmt.Println(name)
				mu.Unlock()
			}
		}()
	}
	select {}
}

// TestKill: what was acknowledged is there after kill -9.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := openAt(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "INGOT_SQL_CHILD="+path)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		acknowledged = append(acknowledged, lines.Text())
		if len(acknowledged) == 500 {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait() // it was killed
	if len(acknowledged) < 500 {
		t.Fatalf("the child wrote only %d things", len(acknowledged))
	}
	have := " " + names(t, openAt(t, path)) + " "
	for _, name := range acknowledged {
		if !strings.Contains(have, " "+name+" ") {
			t.Fatalf("%s was acknowledged and is lost", name)
		}
	}
}
