// Package e2e holds tests on a real API server; "make e2e" runs them. They need
// bin/devcluster, which it builds.
package e2e
