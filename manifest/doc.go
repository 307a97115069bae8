// Package manifest makes Kubernetes objects of custom resources: the Deployment,
// Service and Secrets of a policy server, the webhooks of its policies, and what
// an installation of warder consists of. Its functions are pure: the same input
// gives the same objects, byte for byte.
package manifest
