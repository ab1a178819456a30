// Package greet makes the greeting.
package greet

import "fmt"

// Instance greets from an instance of an app.
func Instance(index string) string { return fmt.Sprintf("Hello from Go, instance %s\n", index) }
