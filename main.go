// Ingot is the Cloud Foundry Application Runtime in one binary.
package main

import (
	"os"

	"ingot/role"
)

func main() {
	os.Exit(role.Main(os.Args[1:], os.Environ(), role.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
