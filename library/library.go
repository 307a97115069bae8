// Package library lists the policies that warder brings with it. Each is a
// package of its own below this one, written as any author would write it, and
// takes the settings of the Kubewarden policy of the same name.
package library

import (
	"slices"

	"github.com/warder-dev/warder/library/allowedfsgroupspsp"
	"github.com/warder-dev/warder/library/allowedprocmounttypespsp"
	"github.com/warder-dev/warder/library/allowprivilegeescalationpsp"
	"github.com/warder-dev/warder/library/apparmorpsp"
	"github.com/warder-dev/warder/library/capabilitiespsp"
	"github.com/warder-dev/warder/library/containerresources"
	"github.com/warder-dev/warder/library/flexvolumedriverspsp"
	"github.com/warder-dev/warder/library/hostnamespacespsp"
	"github.com/warder-dev/warder/library/hostpathspsp"
	"github.com/warder-dev/warder/library/podprivileged"
	"github.com/warder-dev/warder/library/podruntime"
	"github.com/warder-dev/warder/library/readonlyrootfilesystempsp"
	"github.com/warder-dev/warder/library/safelabels"
	"github.com/warder-dev/warder/library/seccomppsp"
	"github.com/warder-dev/warder/library/selinuxpsp"
	"github.com/warder-dev/warder/library/sharepidnamespacepolicy"
	"github.com/warder-dev/warder/library/sysctlpsp"
	"github.com/warder-dev/warder/library/trustedrepos"
	"github.com/warder-dev/warder/library/usergrouppsp"
	"github.com/warder-dev/warder/library/volumespsp"
	"github.com/warder-dev/warder/sdk"
)

// Builtin is a policy that needs no download.
type Builtin struct {
	// Name is what users call it: "pod-privileged".
	Name string
	// Summary is one sentence about what it does.
	Summary string
	// Mutating says that it changes objects, with some settings at least.
	Mutating bool
	// AsksHost says that it asks the host, and so may wait for something. One
	// that does not say so gets no host, whatever its policy is granted.
	AsksHost bool
	Policy   sdk.Policy
}

// All returns every built-in policy, sorted by name. The slice is the
// caller's.
func All() []Builtin { //nolint:funlen // a table
	return []Builtin{
		{
			Name:     "allow-privilege-escalation-psp",
			Summary:  "Refuses containers whose processes may get more privileges than their parent, and forbids it by default.",
			Mutating: true,
			Policy:   allowprivilegeescalationpsp.Policy(),
		},
		{
			Name:     "allowed-fsgroups-psp",
			Summary:  "Controls the group that owns the volumes of pods, and sets it where there is none.",
			Mutating: true,
			Policy:   allowedfsgroupspsp.Policy(),
		},
		{
			Name:    "allowed-proc-mount-types-psp",
			Summary: "Refuses containers that see the whole of /proc.",
			Policy:  allowedprocmounttypespsp.Policy(),
		},
		{
			Name:    "apparmor-psp",
			Summary: "Restricts the AppArmor profiles of pods and containers.",
			Policy:  apparmorpsp.Policy(),
		},
		{
			Name:     "capabilities-psp",
			Summary:  "Controls which Linux capabilities containers may add, and adds or drops those that they must have or lose.",
			Mutating: true,
			Policy:   capabilitiespsp.Policy(),
		},
		{
			Name:     "container-resources",
			Summary:  "Keeps the CPU and memory requests and limits of containers within bounds, and fills in defaults.",
			Mutating: true,
			Policy:   containerresources.Policy(),
		},
		{
			Name:    "flexvolume-drivers-psp",
			Summary: "Restricts the drivers of FlexVolumes.",
			Policy:  flexvolumedriverspsp.Policy(),
		},
		{
			Name:    "host-namespaces-psp",
			Summary: "Refuses pods that share the node's IPC, network or PID namespace, or take host ports that are not allowed.",
			Policy:  hostnamespacespsp.Policy(),
		},
		{
			Name:    "hostpaths-psp",
			Summary: "Restricts which paths of the node containers mount, and whether they may write there.",
			Policy:  hostpathspsp.Policy(),
		},
		{
			Name:    "pod-privileged",
			Summary: "Refuses privileged containers.",
			Policy:  podprivileged.Policy(),
		},
		{
			Name:     "pod-runtime",
			Summary:  "Reserves runtime classes, and gives pods another one instead.",
			Mutating: true,
			Policy:   podruntime.Policy(),
		},
		{
			Name:    "readonly-root-filesystem-psp",
			Summary: "Refuses containers that may write to their root filesystem.",
			Policy:  readonlyrootfilesystempsp.Policy(),
		},
		{
			Name:    "safe-labels",
			Summary: "Denies labels, requires them, or constrains their values.",
			Policy:  safelabels.Policy(),
		},
		{
			Name:    "seccomp-psp",
			Summary: "Restricts the seccomp profiles of pods and containers.",
			Policy:  seccomppsp.Policy(),
		},
		{
			Name:     "selinux-psp",
			Summary:  "Controls the SELinux options of pods and containers, and sets them where there are none.",
			Mutating: true,
			Policy:   selinuxpsp.Policy(),
		},
		{
			Name:    "share-pid-namespace-policy",
			Summary: "Refuses pods whose containers share one PID namespace.",
			Policy:  sharepidnamespacepolicy.Policy(),
		},
		{
			Name:    "sysctl-psp",
			Summary: "Restricts the kernel parameters that pods may set.",
			Policy:  sysctlpsp.Policy(),
		},
		{
			Name:    "trusted-repos",
			Summary: "Restricts the registries, tags and images that containers come from.",
			Policy:  trustedrepos.Policy(),
		},
		{
			Name:     "user-group-psp",
			Summary:  "Controls the users and groups that containers run as, and sets them where nothing is said.",
			Mutating: true,
			Policy:   usergrouppsp.Policy(),
		},
		{
			Name:    "volumes-psp",
			Summary: "Restricts the types of the volumes of pods.",
			Policy:  volumespsp.Policy(),
		},
	}
}

// Lookup returns the built-in of the name, false if there is none.
func Lookup(name string) (Builtin, bool) {
	for _, b := range All() {
		if b.Name == name {
			return b, true
		}
	}
	return Builtin{}, false
}

// Names returns the names of the built-in policies, sorted.
func Names() []string {
	all := All()
	names := make([]string, len(all))
	for i, b := range all {
		names[i] = b.Name
	}
	slices.Sort(names)
	return names
}
