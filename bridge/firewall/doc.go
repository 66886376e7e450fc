// Package firewall finds what the host's packet filter does to the frames that cross a
// bridge, and adds rules that let them pass. It also tells what a guest's own rules do to
// its packets. It knows nothing of containers.
//
// With net.bridge.bridge-nf-call-iptables=1 the kernel passes a frame that is bridged
// between two ports to the FORWARD chain of iptables, as an IP packet whose input and
// output interface are both the bridge (br_netfilter_hooks.c, br_nf_forward). Docker
// sets the policy of that chain to DROP, so that no bridge but its own passes packets.
//
// An answer is found by following frames, not packets, through the rules: a frame of
// each sort that may cross the bridge, of which only some bytes are known. A rule
// therefore matches, does not match, or may match.
//
// In the files:
//
//	firewall.go        what a look at the rules tells, and which rules of ours are needed
//	rule.go            a rule of ours, as a person types it
//	observe_linux.go   the look: all rules of both backends, for one or more bridges
//	guest_linux.go     the look at the rules in a guest's namespace
//	subject_linux.go   the frames that may cross a bridge, and what lets them pass
//	frame.go           what is known of a frame
//	condition.go       what a rule asks of a frame
//	eval.go            following a frame through chains
//	judge.go           what a chain does to all the frames
//	write_linux.go     adding and deleting rules of ours
//	native_linux.go    the same without a program of the host
//	trace.go           a frame's way through nf_tables, as the kernel tells it
//	trace_linux.go     hearing that
//	tracemark_linux.go the table that marks the frames to be told of
//	counters_linux.go  the rules of iptables-legacy whose counters have moved
//	follow_linux.go    hearing that rules have changed
//	sourcefilter.go    the rules of a filter of what a guest sends (--antispoof)
//	filterrule.go      one of them, as nft and as the kernel has it
//	sourcefilter_linux.go  such filters in the kernel
//	iptables_linux.go  the host's iptables programs and their errors
//
// Rules are read from nf_tables by netlink:
//
//	nftconn_linux.go      a question and its answers
//	nft_linux.go          chains and rules
//	sets_linux.go         sets and maps that rules look into
//	decode_linux.go       a rule, taken apart
//	expressions_linux.go  its expressions
//	xtables_linux.go      matches and targets of iptables-nft among them
//	words_linux.go        the rule as a person reads it
//
// and from the old x_tables by iptables-legacy-save:
//
//	legacy_linux.go    which tables are in use, and what they do
//	save.go            the text that iptables-save writes
package firewall
