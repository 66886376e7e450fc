// Package kind knows the kinds of host interface: what a line may ask of one, how it
// joins a guest, how an attachment that is there may differ, and what is deleted with
// it. Each has a file of its own and a place in the registry.
//
//	kind.go                  what a kind is, the registry, and which kind a HOSTIF is
//	linuxbridge.go, ovs.go   a port of a bridge, the kernel's or Open vSwitch's
//	linuxbridgesteps.go      the steps of the former
//	ovssteps.go              those of the latter
//	bridgevlan.go            the VLANs of a port of the kernel's
//	isolated.go              ports of either that are isolated from each other
//	mirror.go                ports that copies of other ports' frames are sent to
//	mirrorsteps.go           the steps of that
//	vxlan.go                 the VXLAN by which a Linux bridge reaches other hosts
//	vxlansteps.go            the steps of that
//	vxlanrouting.go          whether FRR has taken up who is pinned
//	vxlanannounce.go         what guests of other hosts hear by it
//	pin.go                   the guest's addresses as those of its port, on such a bridge
//	pinsteps.go              the steps of that
//	antispoof.go             ports of the kernel's whose guests can send only from their own addresses
//	carrier.go               the carrier of a pair, as if a cable were pulled
//	host.go                  an interface of the host alone
//	pair.go                  the veth pair that joins the guest to these three
//	park.go                  such a pair while its guest is away
//	move.go                  the move of its port to another bridge
//	macvlan.go, ipvlan.go    a link on a network card, beside others
//	macvtap.go               the same, for a program such as a virtual machine
//	wireguard.go             a WireGuard tunnel, from a file of wg-quick's
//	vlan.go, ipoib.go        one VLAN, or one partition, of a card
//	dummy.go                 a link on nothing
//	child.go                 what those on a card, or on nothing, have in common
//	vlanparent.go            the sub-interface for a VLAN that is made as a parent
//	phys.go                  a network card that is lent
//	physlend.go              lending it
//	physreturn.go            returning it as it was
//	physlosses.go            what the host loses by that
//	hostbridge.go            steps for a bridge that the host itself has something on
//	guestpair.go             one end of a link between two guests
//	mtu.go, station.go       an MTU, or an address, that does not go with those that are there
//	verify.go                the proof that packets flow
package kind
