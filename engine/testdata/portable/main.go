// Command portable is one module that has all built-in policies in it, and one
// that says what its settings tell it to. Tests compile it once for each form
// and name the policy in the settings, instead of compiling a module for each
// policy.
package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/sdk"
)

func main() { sdk.Main(sdk.Define(judge)) }

type settings struct {
	Policy   string          `json:"policy"`
	Settings json.RawMessage `json:"settings"`

	judge sdk.Judge
}

// Validate gives the policy its settings. Its error is the policy's own, so that
// nobody sees the policy between the two.
func (s *settings) Validate() (err error) {
	policy := sdk.Define(scripted)
	if s.Policy != "scripted" {
		b, ok := library.Lookup(s.Policy)
		if !ok {
			return fmt.Errorf("policy: no built-in is called %q", s.Policy)
		}
		policy = b.Policy
	}
	s.judge, err = policy.Load(s.Settings)
	return err
}

func judge(ctx context.Context, s *settings, req *sdk.Request) (sdk.Verdict, error) {
	return s.judge(ctx, req)
}
