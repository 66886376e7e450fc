// Package firewall is the way through the host's packet filter for the frames that
// cross a bridge: what the rules that stand do to them, and the rules of our own that
// let them pass. It also tells what a guest's own rules do to its packets. It knows no
// container.
//
// What is asked of the rules is: what do they do to a frame like this one? The answer
// is yes, no or perhaps, and only a sure answer changes anything.
//
//	query      Observe       what is asked: a bridge, the port of a guest, its addresses
//	frames     bridgedFrame  those that stand for all that may cross the bridge
//	rules      chainRule     read from nf_tables or from iptables-legacy-save
//	judgement  Firewall      which chain stops which frames, and what would let them pass
//	Rule       Insert        what we write, by the host's iptables
package firewall
