// Ingot is the Cloud Foundry Application Runtime in one binary.
package main

import "fmt"

func main() { fmt.Println("ingot") }
