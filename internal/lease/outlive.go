package lease

import (
	"context"
)

// AwaitEnd returns when the guest has ended or the interface has gone from it,
// or when ctx ends.
func AwaitEnd(ctx context.Context, g Guest, index int) error {
	in, err := enterBriefly(g.Namespace)
	if err != nil {
		return err
	}
	defer in.End()
	w, err := newWatch(in, g)
	if err != nil {
		return err
	}
	defer w.close()
	for in.hasLink(index) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.gone:
			return errGone
		case <-w.links:
		}
	}
	return nil
}
