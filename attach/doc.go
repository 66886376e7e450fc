// Package attach plugs one more network interface into a guest that is already
// running, and detaches it. A guest is a network namespace.
//
// There is one way through. Each arrow is a function, and only the last one
// writes:
//
//	argv --Parse--> Spec --observe--> Facts --Build--> Plan --apply--> kernel
//	       pure            reads only          pure           undoes on error
//
// In the files:
//
//	words.go                                   the words of a line, and what they ask for: internal/spec
//	facts.go, observe.go                       what planning must know about this machine
//	build.go, same.go, names.go                every decision, refusal and name
//	station.go, mtu.go                         who else is on the bridge or card, and how long its frames are
//	kind.go                                    what a kind of host interface has to answer
//	steps.go, uses.go                          how links are deleted, and what else uses one of the host's
//
// The kinds of host interface, each with its steps:
//
//	linuxbridge.go, bridgevlan.go, pair.go     a Linux bridge, VLANs on it, and the veth pair plugged into it
//	ovs.go                                     an Open vSwitch bridge
//	child.go, vlanparent.go                    links on a card or without one, and the parents that are made for them
//	macvlan.go, ipvlan.go, vlan.go, dummy.go, ipoib.go   each kind of those
//	access.go, accessend.go, leaseaccess.go    the host's way to macvlans on its card
//	phys.go, nexthops.go, queues.go, frozen.go, lend.go, home.go, loan.go, lent.go, trace.go   a network card itself, and how it is returned
//	link.go, linkbuild.go                      a veth pair between two guests
//
// Inside a guest, whatever kind leads there:
//
//	inside.go                                  what is planned there
//	routes.go, sourcerouting.go, replies.go    routes, their ranks, and rules that replies leave by
//	addresssource.go                           what a source of addresses has to answer
//	dhcp.go, dhcp6.go, slaac.go, hostclient.go  addresses that are not given on the line
//	flow.go                                    what is in the way of packets, and not ours
//	leasereplies.go                            the rules for replies that follow a lease
//	verify.go                                  trying whether packets flow
//	probe.go, announce.go                      asking who has an IPv4 address before it is taken; telling the neighbours
//	dns.go, resolv.go                          the guest's name servers
//	shape.go, inbound.go                       how fast and how well a link carries
//
// And what a caller can do:
//
//	api.go, errors.go, helper.go               what is exported, and the processes that outlive a run
//	attach.go, set.go, setbuild.go             plug in; change what is there
//	detach.go, detachbuild.go, detachleft.go   detach
//	gc.go, gcbuild.go                          clean up
//	list.go, attachment.go, ready.go           show what is there; wait for it
//	namespaces.go, children.go                 finding guests, and our links in them
//
// Below it, [github.com/gopipework/gopipework/internal/plan] carries plans out,
// [github.com/gopipework/gopipework/internal/rtnl] is the one door to
// the kernel's network configuration, and
// [github.com/gopipework/gopipework/bridge] knows switches and the firewall.
//
// # What belongs to us
//
// The kernel is the database. Every link that is made here carries the device
// group [plan.Group] from the message that creates it, so it is ours from its first
// instant. Its alias, a [plan.Mark], is set by the very last step of an attach: a
// link of our group without one is half made, whatever else is there. The same
// line again deletes such a link and starts afresh, so a run may be killed at
// any instant.
//
// A lent card was not made here, and does not get the group. But its guest may set
// that group on it, so every deletion goes through deleteLink, which knows the loans.
package attach

// # Terms
//
// One word for one thing: in code, errors, help, README and the manual page. What
// follows "not" is banned everywhere, and a test (e2e/house) fails on it.
//
//	attachment       one interface of ours in one guest, and what is on the host for it
//	guest            a network namespace, and the container, machine or process that it belongs to
//	                 not: target container, target namespace
//	host interface   what a guest is plugged into: HOSTIF on the command line
//	                 not: host device, host link
//	kind             of a host interface: bridge, ovs, macvlan, phys and so on
//	port             the host's end of a pair, in a bridge
//	card             a network card of the host; the parent of a macvlan, ipvlan or VLAN
//	                 not: NIC, network adapter, physical interface
//	Linux bridge     one of the kernel's own
//	                 not: bridge of the kernel
//	Open vSwitch bridge   a switch of ovs-vswitchd's, in the kernel or not
//	                 not: bridge of Open vSwitch, OVS bridge
//	sub-interface    of a card, for the frames of one VLAN
//	                 not: VLAN device, VLAN interface
//	lend, return     a guest is lent a card, which is returned by detach; in between there is a loan
//	                 not: borrow, come home, bring ... home, be home, stay home
//	restore          to set again what was there before: settings of a card, a file, a route
//	                 not: give ... back, put ... back, get ... back
//	lease            what a DHCP server grants: it is acquired, renewed and released
//	                 not: give ... back, hand ... back
//	detach, undo     detach is the command; a step of a plan that fails is undone
//	                 not: take ... back, roll back, revert
//	delete           what is done to an object of the kernel, and to a file
//	                 not: take ... away, get rid of
//	keeper           the process that keeps the leases of one guest
//	                 not: lease daemon, lease process
//	mark             what shows that an object of the kernel is ours
//	                 not: earmark, our label, our tag
//	half made        has our group, and no mark yet: its attach did not finish
//	                 not: half built, half done, half finished, half complete
//	residue          what could not be undone
//	                 not: leftover, left over, remnant
//	foreign          not made by gopipework
//	obstacle         what keeps packets from flowing though all that was asked for is there
//	default route    where a guest sends what no other route is for
//	                 not: the way out, default gateway
//	name server      what a guest asks for the addresses of names
//	                 not: DNS server
//	maintain         to follow what changes, such as a lease or a router's advertisements
//	                 not: keep ... true
//	probe port       the link of our own that --verify sends packets to
//	about            what is said is said about something
//	                 not: say of, tell of
//	the process that   or the one who: a relative clause needs a noun
//	                 not: by who, for who, from who, of who, than who, to who, with who
//	without success  when all tries failed
//	                 not: in vain
