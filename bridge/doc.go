// Package bridge reads and changes the switches of a host: Linux bridges and Open vSwitch
// bridges, the VLANs of their ports, and the rules of the host's firewall for the frames
// that cross them. It knows nothing of containers.
package bridge
