// Package bridge is a switch on the host: a Linux bridge or one of Open vSwitch,
// the VLANs of its ports, and the way through the host's firewall for the frames
// that cross it. It knows no container.
package bridge
