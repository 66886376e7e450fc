// Command importer plugs a running container into a bridge, shows what it has then, and
// removes it again: what gopipework does, from another module.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	words := attach.Words{HostIF: "brtest", Guest: os.Args[1], Address: os.Args[2]}
	err := try(ctx, words, attach.Options{Keeper: os.Getenv("KEEPER")})
	var e *attach.Error
	if errors.As(err, &e) {
		log.Fatalf("%s: %v (%s)", e.Code, err, e.Hint)
	}
}

func try(ctx context.Context, words attach.Words, opt attach.Options) error {
	spec, err := attach.Parse(words)
	if err != nil {
		return err
	}
	guest, err := dockerutil.Find(ctx, spec.Guest)
	if err != nil {
		return err
	}
	defer guest.Close()
	if _, err := attach.Attach(ctx, spec, guest, opt); err != nil {
		return err
	}
	list, err := attach.List(ctx, guest, opt)
	for _, a := range list.Attachments {
		fmt.Println(a.Guest.Name, a.Interface.Name, a.Interface.Addresses, a.Host.Name)
	}
	_, err2 := attach.Detach(ctx, attach.Selection{All: true}, guest, opt)
	return errors.Join(err, err2)
}
