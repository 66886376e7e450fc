// Command hello does nothing: it is what a Go program costs at least.
package main

import "fmt"

func main() { fmt.Println("hello") }
