package capability

import (
	"context"
	"encoding/json"
	"net"
)

// lookupHost answers net/v1/dns_lookup_host with the addresses of a name, in
// the order of the resolver.
func (h *Host) lookupHost(ctx context.Context, payload []byte) ([]byte, error) {
	name, err := decodeText(payload)
	if err != nil {
		return nil, err
	}
	return keep(ctx, h.Services.cache().names, name, func(ctx context.Context) ([]byte, error) {
		resolver := h.Services.Resolver
		if resolver == nil {
			resolver = net.DefaultResolver
		}
		ips, err := resolver.LookupHost(ctx, name)
		if err != nil {
			return nil, err
		}
		return json.Marshal(struct {
			IPs []string `json:"ips"`
		}{ips})
	})
}
