// Package build has what every decision of a plan is made from and written into: the
// facts of this machine, the job (what is asked, what is there, and what follows), and
// the draft of a plan. It is plain data; what there is to decide is above it.
package build
