package cni

import (
	"strings"

	"github.com/gopipework/gopipework/internal/policy"
)

// Asks returns the annotations by which a guest asks for interfaces, others among them, and who
// it is. Those of a pod come by a capability, and CNI_ARGS says which pod that is. A job of
// Nomad writes its own into CNI_ARGS, where Nomad says which job it is.
func (c Config) Asks(call Call) (who policy.Member, annotations map[string]string) {
	if c.askedByPod() {
		return policy.Member{Of: policy.Kubernetes, Group: call.vouched("K8S_POD_NAMESPACE"), Name: call.vouched("K8S_POD_NAME")}, c.Runtime.Annotations
	}
	annotations = map[string]string{}
	for _, a := range call.args {
		key, value, _ := strings.Cut(a, "=")
		annotations[key] = value
	}
	job, _, _ := strings.Cut(call.vouched("NOMAD_JOB_ID"), "/") // what follows is for one run of the job
	return policy.Member{Of: policy.Nomad, Group: call.vouched("NOMAD_NAMESPACE"), Name: job}, annotations
}

// AddsIPs reports whether the result has the addresses of what a guest asks for, too. The plugins
// of the CNI project would take them for those of their own interface, and fail at CHECK, which
// CRI-O asks for after each ADD, and Nomad when its agent starts again.
func (c Config) AddsIPs() bool {
	if c.IPs != nil {
		return *c.IPs
	}
	return c.askedByPod()
}

// askedByPod reports whether it is a pod that asks, and not a job of Nomad.
func (c Config) askedByPod() bool { return c.Runtime.Annotations != nil }

// vouched returns what CNI_ARGS has for a key that engines set. A job of Nomad writes there too,
// and may try to pass for another one: of two values none counts.
func (c Call) vouched(key string) string {
	var values []string
	for _, a := range c.args {
		if value, is := strings.CutPrefix(a, key+"="); is {
			values = append(values, value)
		}
	}
	if len(values) != 1 {
		return ""
	}
	return values[0]
}
