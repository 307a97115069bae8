// Package gatewaytls is the built-in policy gateway-tls: it wants the listeners of
// Gateways that end TLS to have a certificate, and certificates of clients to be
// verified.
package gatewaytls

import (
	"context"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of gateway-tls.
type Settings struct {
	// RequireTLS refuses listeners without TLS, of the protocol HTTP. Default
	// false.
	RequireTLS bool `json:"requireTLS"`
	// AllowInsecureFallback lets clients in whose certificate cannot be verified.
	// Default false.
	AllowInsecureFallback bool `json:"allowInsecureFallback"`
}

// Policy returns the policy gateway-tls.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Kinds(req, []string{"Gateway"}, func(gateway sdk.Value) string {
		spec := gateway.Get("spec").Fields("listeners", "tls")
		var places sdk.Places
		for _, listener := range spec[0].Elements() {
			s.judgeListener(listener, &places)
		}
		frontend := spec[1].Get("frontend").Fields("default", "perPort")
		s.judgeClients(frontend[0], &places)
		for _, port := range frontend[1].Elements() {
			s.judgeClients(port.Get("tls"), &places)
		}
		if places.Len() == 0 {
			return ""
		}
		return "Gateways must serve TLS, and verify those who call: " + places.String() +
			". Name a certificate in tls.certificateRefs, and leave the mode of validation at AllowValidOnly"
	})
}

func (s *Settings) judgeListener(listener sdk.Value, places *sdk.Places) {
	fields := listener.Fields("protocol", "tls")
	protocol, tls := fields[0].String(), fields[1].Fields("mode", "certificateRefs", "options")
	certificate := false
	for range tls[1].Elements() {
		certificate = true
	}
	for range tls[2].Members() { // of the implementation: a certificate of the cloud
		certificate = true
	}
	passes := protocol == "TLS" && tls[0].String() == "Passthrough"
	switch {
	case protocol == "HTTP" && s.RequireTLS:
		places.Addf(listener, " has no TLS")
	case (protocol == "HTTPS" || protocol == "TLS" || protocol == "GRPC") && !passes && !certificate:
		places.Addf(listener, " has no certificate")
	}
}

// judgeClients looks at how the certificates of clients are verified.
func (s *Settings) judgeClients(tls sdk.Value, places *sdk.Places) {
	if mode := tls.Get("validation", "mode"); mode.String() == "AllowInsecureFallback" && !s.AllowInsecureFallback {
		places.Addf(mode, " is AllowInsecureFallback")
	}
}
