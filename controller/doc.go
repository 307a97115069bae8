// Package controller makes the cluster as the custom resources say: it runs
// policy servers, and registers their policies with the API server once every
// replica holds them.
//
// There are three loops. Servers makes the objects of a PolicyServer and says
// how it is (server.go). Enforcement registers the policies of one PolicyServer
// and says how each is (enforcement.go): what to register is decided by package
// manifest and by pure functions (held.go, conditions.go). Certificates keeps
// the certificate authority and the certificate of the admission webhooks
// (certificates.go). What the objects look like is package manifest's.
//
// A loop that finds everything as it should be writes nothing.
package controller
