package cni

import (
	"errors"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
)

// coded is an error for which CNI has a code.
type coded struct {
	fault *fault.Error
	code  uint
}

func (c *coded) Error() string { return c.fault.Error() }
func (c *coded) Unwrap() error { return c.fault }

// refuse returns the error, with this code, for a word of the caller's.
func refuse(code uint, op, word, format string, args ...any) *coded {
	return &coded{fault.BadWord(op, word, format, args...), code}
}

func (c *coded) withHint(format string, args ...any) *coded {
	c.fault = c.fault.WithHint(format, args...)
	return c
}

// undecoded returns the error for a part of the caller's input that is not as CNI has it.
func undecoded(what string, err error) *coded {
	return &coded{fault.New(fault.Usage, "read", what, "%w", err), types.ErrDecodingFailure}
}

// NotReady returns err as STATUS tells it: nothing can be attached now. A configuration that
// makes no sense never will be ready.
func NotReady(err error) error {
	if fault.CodeOf(err) == fault.Usage {
		return err
	}
	return withCode(types.ErrPluginNotAvailable, err)
}

// Limited returns err as STATUS tells it where containers are attached that may be cut off,
// too.
func Limited(err error) error { return withCode(types.ErrLimitedConnectivity, err) }

// NoDevice returns err as the error for what the caller asks for by a capability.
func NoDevice(err error) error { return withCode(types.ErrInvalidNetworkConfig, err) }

// BadVariable returns err as the error for a variable of the environment.
func BadVariable(err error) error { return withCode(types.ErrInvalidEnvironmentVariables, err) }

func withCode(code uint, err error) error {
	var f *fault.Error
	if !errors.As(err, &f) {
		f = fault.New(fault.Failed, "answer", "the caller", "%w", err)
	}
	return &coded{f, code}
}

// ownCodes is where the codes begin that CNI leaves to plugins.
const ownCodes = 100

// codeOf returns the code of an error. exit is the exit code of the command for it.
func codeOf(err error, exit int) uint {
	var c *coded
	if errors.As(err, &c) {
		return c.code
	}
	switch code := fault.CodeOf(err); {
	case code == fault.Usage: // the words are those of the configuration
		return types.ErrInvalidNetworkConfig
	case code == fault.Timeout, code == fault.Runtime, errors.Is(err, bridge.ErrNoOVS):
		return types.ErrTryAgainLater
	}
	return ownCodes + uint(exit)
}

// Failure is what the caller is told of a failure.
type Failure struct {
	CNIVersion string `json:"cniVersion"`
	Code       uint   `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details,omitempty"`
}

// Explain returns what the caller is told, in the version that it speaks. exit is the exit
// code of the command for the error.
func Explain(err error, spoken string, exit int) Failure {
	if versions := Plugin().SupportedVersions(); !slices.Contains(versions, spoken) {
		spoken = versions[len(versions)-1]
	}
	return Failure{CNIVersion: spoken, Code: codeOf(err, exit), Msg: err.Error(), Details: fault.HintOf(err)}
}
