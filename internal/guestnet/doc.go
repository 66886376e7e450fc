// Package guestnet plans what is set up inside a guest, whatever kind of link leads
// there: addresses, routes and their ranks, rules for replies, name servers, shaping. It
// also finds what keeps packets of the guest from flowing.
package guestnet
