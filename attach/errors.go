package attach

import "github.com/gopipework/gopipework/internal/fault"

// Error is the one type of error that this package and dockerutil return, for
// errors.As. Its Code says what kind it is, its Op and Object what was being done to
// what, its Hint what to do about it, and its Residue what could not be undone. It
// wraps the cause.
type Error = fault.Error

// Code is the kind of an Error.
type Code = fault.Code

// The codes. The comment gives what a caller may conclude from each.
const (
	CodeFailed      = fault.Failed      // the kernel or a tool refused
	CodeConflict    = fault.Conflict    // it contradicts what is there
	CodeLimit       = fault.Limit       // something is full
	CodeTimeout     = fault.Timeout     // something did not answer in time
	CodeRuntime     = fault.Runtime     // the container engine failed
	CodeUsage       = fault.Usage       // the words make no sense
	CodeNotFound    = fault.NotFound    // no such guest or host interface
	CodeGone        = fault.Gone        // it is not running, or it died meanwhile
	CodePermission  = fault.Permission  // root, or capabilities, are needed
	CodeResidue     = fault.Residue     // failed, and not all of it could be undone
	CodeUnsupported = fault.Unsupported // this kernel or host lacks the feature
)
