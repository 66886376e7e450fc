// Package hostbridge has what the host itself has on a bridge, because a topology file says
// so: addresses of its own, and an uplink, which is an interface of the host that is made
// a port, or a VXLAN to other hosts.
//
// Build decides, and is pure; Observe reads what it must know. What is ours is marked on
// the kernel's objects (ours.BridgeMark, ours.UplinkMark, ours.Protocol) or, of Open
// vSwitch, in its database. The marks are set before what they are about is changed and
// deleted after it, so a run may be killed at any instant: the next one finds the mark, and
// goes on.
package hostbridge
