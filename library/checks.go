package library

import (
	"github.com/warder-dev/warder/library/automountserviceaccounttoken"
	"github.com/warder-dev/warder/library/capabilitiesdenied"
	"github.com/warder-dev/warder/library/capabilitiesdropped"
	"github.com/warder-dev/warder/library/gatewayallowedroutes"
	"github.com/warder-dev/warder/library/gatewayreferences"
	"github.com/warder-dev/warder/library/gatewaytls"
	"github.com/warder-dev/warder/library/hostprocess"
	"github.com/warder-dev/warder/library/hpareplicas"
	"github.com/warder-dev/warder/library/httproutebackendtls"
	"github.com/warder-dev/warder/library/httproutehostnames"
	"github.com/warder-dev/warder/library/httproutelisteners"
	"github.com/warder-dev/warder/library/imagepullpolicy"
	"github.com/warder-dev/warder/library/imagetag"
	"github.com/warder-dev/warder/library/instancelabel"
	"github.com/warder-dev/warder/library/kgatewaybackendtls"
	"github.com/warder-dev/warder/library/linuxhardening"
	"github.com/warder-dev/warder/library/minreplicas"
	"github.com/warder-dev/warder/library/networkpolicyrequired"
	"github.com/warder-dev/warder/library/pdballowsdisruptions"
	"github.com/warder-dev/warder/library/pdbhpareplicas"
	"github.com/warder-dev/warder/library/pdbrequired"
	"github.com/warder-dev/warder/library/priorityclassrequired"
	"github.com/warder-dev/warder/library/rbacbindingpodexec"
	"github.com/warder-dev/warder/library/rbacbindingwildcards"
	"github.com/warder-dev/warder/library/rbacclusteradmin"
	"github.com/warder-dev/warder/library/rbacpodexec"
	"github.com/warder-dev/warder/library/rbacwildcards"
	"github.com/warder-dev/warder/library/resourcesrequired"
	"github.com/warder-dev/warder/library/runasnonroot"
	"github.com/warder-dev/warder/library/sensitiveconfigmapcontent"
	"github.com/warder-dev/warder/library/sensitivecontainerenvvar"
	"github.com/warder-dev/warder/library/topologyspread"
)

// checks are the policies that Kubewarden does not have. Most of them give the
// verdict of a check of Polaris: see PolarisChecks.
func checks() []Builtin { //nolint:funlen // a table
	return []Builtin{
		{
			Name:     "automount-service-account-token",
			Summary:  "Wants pods to do without the token of their ServiceAccount.",
			Category: "security", Severity: "medium",
			Policy: automountserviceaccounttoken.Policy(),
		},
		{
			Name:     "capabilities-denied",
			Summary:  "Refuses containers that add capabilities which are as good as root on the node.",
			Category: "security", Severity: "high",
			Policy: capabilitiesdenied.Policy(),
		},
		{
			Name:     "capabilities-dropped",
			Summary:  "Wants containers to drop capabilities, all of them unless told otherwise.",
			Category: "security", Severity: "medium",
			Policy: capabilitiesdropped.Policy(),
		},
		{
			Name:     "gateway-allowed-routes",
			Summary:  "Refuses Gateways that any namespace may attach a route to.",
			Category: "security", Severity: "medium",
			Policy: gatewayallowedroutes.Policy(),
		},
		{
			Name:     "gateway-references",
			Summary:  "Wants what Gateways and HTTPRoutes name in other namespaces to be granted to them there.",
			AsksHost: true,
			Category: "security", Severity: "medium",
			Policy: gatewayreferences.Policy(),
		},
		{
			Name:     "gateway-tls",
			Summary:  "Wants the listeners of Gateways that end TLS to have a certificate, and the certificates of clients to be verified.",
			Category: "security", Severity: "medium",
			Policy: gatewaytls.Policy(),
		},
		{
			Name:     "host-process",
			Summary:  "Refuses containers on Windows that run as processes of the node.",
			Category: "security", Severity: "high",
			Policy: hostprocess.Policy(),
		},
		{
			Name:     "hpa-replicas",
			Summary:  "Wants autoscalers to keep two replicas or more, and to have room.",
			Category: "reliability", Severity: "medium",
			Policy: hpareplicas.Policy(),
		},
		{
			Name:     "http-route-backend-tls",
			Summary:  "Wants the Gateway to speak TLS with the backends of HTTPRoutes that expect it.",
			AsksHost: true,
			Category: "security", Severity: "medium",
			Policy: httproutebackendtls.Policy(),
		},
		{
			Name:     "http-route-hostnames",
			Summary:  "Wants HTTPRoutes to say which hosts they are for.",
			Category: "security", Severity: "medium",
			Policy: httproutehostnames.Policy(),
		},
		{
			Name:     "http-route-listeners",
			Summary:  "Refuses HTTPRoutes that serve what they route to without TLS.",
			AsksHost: true,
			Category: "security", Severity: "medium",
			Policy: httproutelisteners.Policy(),
		},
		{
			Name:     "image-pull-policy",
			Summary:  "Limits the imagePullPolicy of containers, to Always unless told otherwise.",
			Category: "reliability", Severity: "medium",
			Policy: imagepullpolicy.Policy(),
		},
		{
			Name:     "image-tag",
			Summary:  "Wants images to have a tag or a digest.",
			Category: "reliability", Severity: "high",
			Policy: imagetag.Policy(),
		},
		{
			Name:     "instance-label",
			Summary:  "Wants the label app.kubernetes.io/instance to be the name of the object.",
			Category: "reliability", Severity: "medium",
			Policy: instancelabel.Policy(),
		},
		{
			Name:     "kgateway-backend-tls",
			Summary:  "Refuses policies of kgateway that take any certificate for that of the backend.",
			Category: "security", Severity: "medium",
			Policy: kgatewaybackendtls.Policy(),
		},
		{
			Name:     "linux-hardening",
			Summary:  "Wants containers to be confined by seccomp, AppArmor, SELinux or dropped capabilities.",
			Category: "security", Severity: "medium",
			Policy: linuxhardening.Policy(),
		},
		{
			Name:     "min-replicas",
			Summary:  "Wants Deployments to have two replicas or more.",
			Category: "reliability", Severity: "medium",
			Policy: minreplicas.Policy(),
		},
		{
			Name:     "network-policy-required",
			Summary:  "Wants a NetworkPolicy to say who may talk to the pods.",
			AsksHost: true,
			Category: "security", Severity: "medium",
			Policy: networkpolicyrequired.Policy(),
		},
		{
			Name:     "pdb-allows-disruptions",
			Summary:  "Refuses PodDisruptionBudgets that let no node be drained.",
			Category: "reliability", Severity: "medium",
			Policy: pdballowsdisruptions.Policy(),
		},
		{
			Name:     "pdb-hpa-replicas",
			Summary:  "Refuses PodDisruptionBudgets that want as many pods as an autoscaler may leave.",
			AsksHost: true,
			Category: "reliability", Severity: "medium",
			Policy: pdbhpareplicas.Policy(),
		},
		{
			Name:     "pdb-required",
			Summary:  "Wants workloads of several replicas to have a PodDisruptionBudget.",
			AsksHost: true,
			Category: "reliability", Severity: "medium",
			Policy: pdbrequired.Policy(),
		},
		{
			Name:     "priority-class-required",
			Summary:  "Wants pods to have a priority class.",
			Category: "reliability", Severity: "medium",
			Policy: priorityclassrequired.Policy(),
		},
		{
			Name:     "rbac-binding-pod-exec",
			Summary:  "Refuses bindings of roles that allow to run commands in containers.",
			AsksHost: true,
			Category: "security", Severity: "high",
			Policy: rbacbindingpodexec.Policy(),
		},
		{
			Name:     "rbac-binding-wildcards",
			Summary:  "Refuses bindings of roles that allow everything, whatever they are called.",
			AsksHost: true,
			Category: "security", Severity: "high",
			Policy: rbacbindingwildcards.Policy(),
		},
		{
			Name:     "rbac-cluster-admin",
			Summary:  "Refuses bindings that give somebody all rights.",
			Category: "security", Severity: "high",
			Policy: rbacclusteradmin.Policy(),
		},
		{
			Name:     "rbac-pod-exec",
			Summary:  "Refuses roles that allow to run commands in containers.",
			Category: "security", Severity: "high",
			Policy: rbacpodexec.Policy(),
		},
		{
			Name:     "rbac-wildcards",
			Summary:  "Refuses roles that have wildcards.",
			Category: "security", Severity: "high",
			Policy: rbacwildcards.Policy(),
		},
		{
			Name:     "resources-required",
			Summary:  "Wants containers to have requests or limits of CPU and memory.",
			Category: "efficiency", Severity: "medium",
			Policy: resourcesrequired.Policy(),
		},
		{
			Name:     "run-as-non-root",
			Summary:  "Wants containers not to run as root.",
			Category: "security", Severity: "high",
			Policy: runasnonroot.Policy(),
		},
		{
			Name:     "sensitive-configmap-content",
			Summary:  "Refuses ConfigMaps with what should be in a Secret.",
			Category: "security", Severity: "high",
			Policy: sensitiveconfigmapcontent.Policy(),
		},
		{
			Name:     "sensitive-container-env-var",
			Summary:  "Refuses containers with secrets among the values of their environment.",
			Category: "security", Severity: "high",
			Policy: sensitivecontainerenvvar.Policy(),
		},
		{
			Name:     "topology-spread",
			Summary:  "Wants the replicas of workloads to be spread over nodes or zones.",
			Category: "reliability", Severity: "medium",
			Policy: topologyspread.Policy(),
		},
	}
}
