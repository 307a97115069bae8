package replica

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/warder-dev/warder/api/v1alpha1"
	"github.com/warder-dev/warder/engine"
)

// maxMessage bounds the message of an exception, in bytes, and maxMessages how
// many have one: 50 kB, of the 1.5 MiB that etcd takes. Exceptions without are some
// 300 bytes each, what the API server notes of field managers included.
const (
	maxMessage  = 512
	maxMessages = 100
)

// status is what a report says of policies. What was taken up and what of it is
// not served come from one moment: what is said to be observed is served as it
// was meant, or is among the exceptions.
func (k *keeper) status() v1alpha1.ReplicaStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := v1alpha1.ReplicaStatus{}
	for _, resource := range slices.Sorted(maps.Keys(k.observed)) {
		s.Observed = append(s.Observed, v1alpha1.Observed{Resource: resource, ResourceVersion: k.observed[resource]})
	}
	for _, h := range k.held {
		if !h.goneUntil.IsZero() {
			continue
		}
		s.Policies++
		if e, is := k.exception(h); is {
			s.Exceptions = append(s.Exceptions, e)
			if e.State != v1alpha1.Loading {
				s.Failed++
			}
		}
	}
	byName := func(a, b v1alpha1.Exception) int { return strings.Compare(a.Policy, b.Policy) }
	slices.SortFunc(s.Exceptions, func(a, b v1alpha1.Exception) int {
		return cmp.Or(rank(a.State)-rank(b.State), byName(a, b))
	})
	if left := len(s.Exceptions) - v1alpha1.MaxExceptions; left > 0 {
		s.ExceptionsLeftOut = int32(left)
		s.Exceptions = s.Exceptions[:v1alpha1.MaxExceptions]
	}
	for i := maxMessages; i < len(s.Exceptions); i++ {
		s.Exceptions[i].Message = ""
	}
	return s
}

// rank orders exceptions: first what stays until somebody does something.
func rank(s v1alpha1.PolicyState) int {
	return slices.Index([]v1alpha1.PolicyState{v1alpha1.Failed, v1alpha1.Stale, v1alpha1.Degraded, v1alpha1.Loading}, s)
}

// exception says how a policy stands, if not as it is meant. The lock is held.
func (k *keeper) exception(h *held) (v1alpha1.Exception, bool) {
	e := v1alpha1.Exception{Policy: string(h.id), Generation: h.generation}
	status, has := k.engine.Status(h.id)
	switch {
	case h.invalid != nil:
		e.State, e.Stage, e.Message = v1alpha1.Failed, stageOf(h.invalid), h.invalid.Error()
	case k.server == nil:
		e.State, e.Message = v1alpha1.Loading, "the PolicyServer "+k.name+" does not exist"
	case h.loaded < h.revision || !has:
		e.State = v1alpha1.Loading
	case status.State == engine.Loaded:
		return e, false
	default:
		e.State, e.Stage, e.Message = stateOf(status.State), string(status.Stage), status.Error
		if e.State == v1alpha1.Stale && h.served != h.uid {
			e.State = v1alpha1.Failed // what serves was another policy of that name
		}
	}
	e.Message = strings.TrimPrefix(e.Message, `policy "`+e.Policy+`": `)
	e.Message = shortened(strings.TrimPrefix(e.Message, e.Stage+": "))
	return e, true
}

func stateOf(s engine.State) v1alpha1.PolicyState {
	switch s {
	case engine.Stale:
		return v1alpha1.Stale
	case engine.Degraded:
		return v1alpha1.Degraded
	}
	return v1alpha1.Failed
}

// shortened cuts a text to what a message may have.
func shortened(text string) string {
	const more = "…"
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= maxMessage {
		return text
	}
	end := maxMessage - len(more)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + more
}

// reportOf is the report of a replica.
func reportOf(o Options, status v1alpha1.ReplicaStatus) *v1alpha1.PolicyServerReplica {
	r := &v1alpha1.PolicyServerReplica{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion().String(), Kind: "PolicyServerReplica"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: o.Namespace, Name: o.Name, Labels: map[string]string{labelPolicyServer: o.PolicyServer},
		},
		Spec:   v1alpha1.ReplicaSpec{PolicyServer: o.PolicyServer, LeaseDurationSeconds: int32(o.LeaseDuration.Seconds())},
		Status: status,
	}
	if o.Owner != nil {
		r.OwnerReferences = []metav1.OwnerReference{*o.Owner}
	}
	return r
}

// labelPolicyServer is the label of all that belongs to a PolicyServer, with its
// name. Source: Kubewarden.
const labelPolicyServer = "kubewarden/policy-server"
