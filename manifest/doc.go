// Package manifest makes Kubernetes objects of custom resources: the Deployment,
// Service and Secrets of a policy server, the webhooks of its policies, and what
// an installation of warder consists of. Its functions are pure: the same input
// gives the same objects, byte for byte.
//
// The objects are for server-side apply, with the one field manager that
// FieldManager names: what an object does not say is somebody else's, and what
// it said once and says no more is removed. Unstructured makes them fit for it.
package manifest

// "make generate" writes the CustomResourceDefinitions and the deep copies anew.
//
//go:generate sh -c "cd .. && go tool -modfile=tools/go.mod controller-gen object crd paths=./api/... output:crd:dir=manifest/crds"
