package dockerutil

import (
	"context"
	"slices"
	"time"

	"github.com/moby/moby/client"
)

// BridgeOf returns the Linux bridge of a network of Docker's, by the network's name or ID; "":
// there is none, or Docker does not say so within a moment.
//
//	docker network inspect NAME
func BridgeOf(ctx context.Context, network string) string {
	const moment = time.Second
	ctx, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	d, err := openDaemon(ctx, wordRef{Runtime: RuntimeDocker})
	if err != nil {
		return ""
	}
	defer d.close()
	n, err := d.client.NetworkInspect(ctx, network, client.NetworkInspectOptions{})
	if err != nil || n.Network.Driver != "bridge" {
		return ""
	}
	if name := n.Network.Options["com.docker.network.bridge.name"]; name != "" {
		return name
	}
	return "br-" + n.Network.ID[:min(len(n.Network.ID), 12)]
}

// IsRuntime reports whether a guest word can begin with such a prefix.
func IsRuntime(prefix string) bool { return slices.Contains(prefixes, prefix) }
