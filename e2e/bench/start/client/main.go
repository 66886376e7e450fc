// Command client makes a client of Docker and asks nothing: it is what a program
// costs that has the Docker client in it.
package main

import (
	"fmt"
	"os"

	"github.com/moby/moby/client"
)

func main() {
	c, err := client.New(client.FromEnv)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(c.DaemonHost())
}
