package cni

import (
	"testing"

	"github.com/gopipework/gopipework/internal/policy"
)

func TestAsks(t *testing.T) {
	const key, line = "org.gopipework.eth1", "br1 10.0.0.2/24"
	const pod, job = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1", "NOMAD_NAMESPACE=shop;NOMAD_JOB_ID=web"
	annotated := map[string]string{key: line, "other": "x"}
	podMember, jobMember := policy.Member{Of: policy.Kubernetes, Group: "shop", Name: "web-1"}, policy.Member{Of: policy.Nomad, Group: "shop", Name: "web"}
	for name, tt := range map[string]struct {
		annotations map[string]string
		args        string
		who         policy.Member
		line        string
	}{
		"a pod":                            {annotated, pod, podMember, line},
		"a pod that asks for nothing":      {map[string]string{"other": "x"}, pod, podMember, ""},
		"a pod that asks in CNI_ARGS":      {map[string]string{}, pod + ";" + key + "=" + line, podMember, ""},
		"a pod, and nobody says which":     {annotated, "", policy.Member{Of: policy.Kubernetes}, line},
		"a job":                            {nil, job + ";" + key + "=" + line, jobMember, line},
		"a run of a periodic job":          {nil, job + "/periodic-1;" + key + "=" + line, jobMember, line},
		"a job that passes for a pod":      {nil, job + ";" + pod + ";" + key + "=" + line, jobMember, line},
		"a job that passes for another":    {nil, key + "=" + line + ";NOMAD_NAMESPACE=admin;" + job, policy.Member{Of: policy.Nomad, Name: "web"}, line},
		"a job of a Nomad that is too old": {nil, key + "=" + line, policy.Member{Of: policy.Nomad}, line},
	} {
		call, err := ReadCall(func(name string) string {
			return map[string]string{Command: Add, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/run/netns/web", "CNI_ARGS": tt.args}[name]
		})
		if err != nil {
			t.Fatal(err)
		}
		who, annotations := Config{Runtime: Runtime{Annotations: tt.annotations}}.Asks(call)
		if who != tt.who || annotations[key] != tt.line {
			t.Errorf("%s: %+v asks for %q", name, who, annotations)
		}
	}
}
