package sdk

import "context"

// LookupHost returns the addresses of a host name, IPv4 and IPv6, in the order
// of the server's resolver. It needs the capability net/v1/dns_lookup_host.
func LookupHost(ctx context.Context, host string) ([]string, error) {
	answer, err := ask[struct {
		IPs []string `json:"ips"`
	}](ctx, "net", "v1/dns_lookup_host", host)
	return answer.IPs, err
}
