// A policy that keeps all it can get hold of for the next request, and answers
// with what it finds of the one before.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/warder-dev/warder/sdk"
)

func main() { sdk.Main(sdk.Define(judge)) }

// settings are reached through a pointer that all requests share.
type settings struct {
	Seen []string `json:"seen"`
}

var (
	requests int
	kept     = map[string]string{}
	big      = make([]byte, 1<<20)
	more     []string
)

func judge(_ context.Context, s *settings, req *sdk.Request) (sdk.Verdict, error) {
	object := sdk.View(req.Object)
	secret := object.Get("secret").String()
	found := fmt.Sprint(requests, kept, s.Seen, more, os.Args, os.Environ(), strings.Trim(string(big), "\x00"))

	requests++
	kept[secret] = secret
	s.Seen = append(s.Seen, secret)
	more = append(more, strings.Repeat(secret, 100))
	copy(big[len(big)/2:], secret)
	for i := 0; i+len(secret) < len(big); i += 64 << 10 {
		copy(big[i:], secret)
	}
	for i := range os.Args {
		os.Args[i] = secret
	}
	if err := os.Setenv("SECRET", secret); err != nil {
		return sdk.Verdict{}, err
	}
	for _, fd := range object.Get("close").Elements() {
		if err := syscall.Close(int(fd.Int())); err != nil {
			found += fmt.Sprintf("; close %d: %v", fd.Int(), err)
		}
	}
	return sdk.Reject("found " + found + ", was told " + secret), nil
}
