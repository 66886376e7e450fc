// Package attach plugs one more network interface into a guest that is already
// running, changes it, lists what there is, and detaches it. A guest is a network
// namespace; dockerutil.Find finds the one of a container.
//
//	spec, err := attach.Parse(attach.Words{HostIF: "br1", Guest: "web", Address: "192.168.1.2/24"})
//	guest, err := dockerutil.Find(ctx, spec.Guest)
//	defer guest.Close()
//	result, err := attach.Attach(ctx, spec, guest, attach.Options{})
//
// What is asked for is data: a [Spec], which [Parse] makes from the words of the command
// line. Parsing looks at nothing, and needs no root. All else needs root, or
// CAP_NET_ADMIN and CAP_SYS_ADMIN; with [Options.DryRun] it changes nothing, and the
// [Result] has the commands that a person would type.
//
// A run does all that it is asked for, or it undoes what it did. The same attach twice is
// one. Every error is an [*Error]; its [Code] says what kind it is, and its Hint what to
// do about it.
//
// The package prints nothing and keeps nothing in memory: the kernel's own objects are
// marked, so that another process can list and detach what this one has attached. Runs
// may be concurrent, in one process or in several. A lease is kept by another process,
// which [Options.Keeper] runs, or by this one ([KeepLeases]).
package attach

// # For those who work on it
//
// There is one way through. Each arrow is a function, and only the last one
// writes:
//
//	argv --Parse--> Spec --observe--> Facts --Build--> Plan --apply--> kernel
//	       pure            reads only          pure           undoes on error
//
// This package is what others import: it observes, decides the order of what is
// planned, and carries plans out.
//
//	api.go, errors.go, helper.go               what is exported, and the processes that outlive a run
//	leases.go                                  keeping all leases in this process
//	ahead.go                                   what attach reads of the host while its guest is looked for
//	words.go, attachment.go                    what can be asked for, and what there is, under the names of an importer
//	attach.go, observe.go, build.go, same.go   attach: the facts, the decisions, and what is there already
//	job.go, addressing.go                      what is asked and what is there; addresses inside the guest
//	set.go, setbuild.go                        change what is there
//	setaddrs.go, setroutes.go                  its addresses and routes
//	setcarrier.go                              its carrier, as if a cable were pulled
//	setaccess.go                               whether the host reaches it
//	setmove.go                                 its bridge
//	link.go, linkbuild.go                      a veth pair between two guests
//	detach.go, detachbuild.go, detachleft.go   detach
//	bridge.go                                  what the host itself has on a bridge
//	gc.go, gcbuild.go                          clean up
//	park.go                                    keep ports while their guests are away
//	list.go, childlist.go, describe.go         show what is there
//	more.go, ready.go                          more of that; wait for it
//	follow.go                                  tell when the host loses a link
//
// Below it, each of these knows nothing of those before it:
//
//   - [github.com/gopipework/gopipework/internal/doctor]: the walk along the way of a packet, which the command calls itself
//   - [github.com/gopipework/gopipework/internal/bundle]: all that is known of the network, in one archive
//   - [github.com/gopipework/gopipework/internal/hostbridge]: the host's own address and uplink on a bridge
//   - [github.com/gopipework/gopipework/internal/kind]: the kinds of host interface
//   - [github.com/gopipework/gopipework/internal/source]: where addresses come from
//   - [github.com/gopipework/gopipework/internal/hostaccess]: the host's way to macvlans
//   - [github.com/gopipework/gopipework/internal/guestnet]: what is set up inside a guest
//   - [github.com/gopipework/gopipework/internal/passage]: what the kernel knows to be in the way of packets
//   - [github.com/gopipework/gopipework/internal/build]: facts, jobs and drafts of plans
//   - [github.com/gopipework/gopipework/internal/ours]: what was made or lent here, and where it is
//   - [github.com/gopipework/gopipework/internal/finding]: the table of what keeps packets from flowing
//   - [github.com/gopipework/gopipework/internal/plan]: how plans are carried out and undone
//   - [github.com/gopipework/gopipework/internal/spec]: the words of a line
//   - [github.com/gopipework/gopipework/internal/graph]: what is connected to what, as data and as a drawing; internal/survey, beside this package, reads it
//   - [github.com/gopipework/gopipework/internal/rtnl] is the one door to the kernel's network
//     configuration, and [github.com/gopipework/gopipework/bridge] knows switches and the firewall
//   - [github.com/gopipework/gopipework/internal/witness] sends packets and sees how far they get, and
//     [github.com/gopipework/gopipework/internal/tidy] deletes the neighbour entries that they have left
//   - [github.com/gopipework/gopipework/internal/dropreason] hears why the kernel drops packets
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
// A bridge that an origin asks for, and its uplink, may be somebody else's: they are marked
// by an alternative name (ours.BridgeMark, ours.UplinkMark), and an address of the host by
// its protocol. A bridge with such a mark stays though nothing is attached to it.
//
// A filter that copies frames has the group's number as its handle, and the port that sends
// the copies an alternative name (kind.IsMirror), which stays when the filters have gone.
//
// A lent card was not made here, and does not get the group. But its guest may set
// that group on it, so every deletion goes through ours.DeleteLink, which knows the loans.

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
//	cable            a pair, as its guest sees it: set --carrier off pulls it, set --carrier on plugs it in
//	                 again
//	card             a network card of the host; the parent of a macvlan, ipvlan or VLAN
//	                 not: NIC, network adapter, physical interface
//	Linux bridge     one of the kernel's own
//	                 not: bridge of the kernel's
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
//	origin           who asked for an attachment: a typed line, the kept lines, a file,
//	                 a service of Compose, a network of CNI, a label or an annotation of a container
//	                 not: requester
//	take over        to give an attachment that a typed line or a label made another origin
//	keeper           what keeps the leases of one guest: a process of its own, or part of watch
//	                 not: lease daemon, lease process
//	mark             what shows that an object of the kernel is ours
//	                 not: earmark, our label, our tag
//	park             to keep the guest's end of a pair while the guest is away, so that the port stays
//	mirror           the copies of one interface's frames that another guest's interface receives
//	source filter    rules on a port, which drop what its guest sends from addresses that are not its own
//	uplink           of a bridge: an interface of the host, or a VXLAN to other hosts, that is a port of it
//	pin              to enter a guest's MAC address as a static station of its port, and its addresses as
//	                 permanent neighbours of its bridge, for other hosts to know where it is
//	VRF              a link of the guest whose ports have a routing table of their own
//	tunnel           an encrypted interface, as a file of wg-quick's describes it
//	move             to make the port of an attachment one of another bridge
//	half made        has our group, and no mark yet: its attach did not finish
//	                 not: half built, half done, half finished, half complete
//	residue          what could not be undone
//	                 not: leftover, left over, remnant
//	foreign          not made by gopipework
//	obstacle         what keeps packets from flowing though all that was asked for is there
//	finding          an obstacle that was found, of a kind with a number and a name
//	way              of a packet, from a guest to a far end; a hop is one place on it
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
