// Command module is the module of several policies: the test writes the name of
// the one that it is to be over the name below, instead of compiling one module
// for each.
package main

import (
	"context"
	"strings"

	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/sdk"
)

const name = "@@ the name of the policy, padded to fifty bytes @@"

func main() {
	who := strings.TrimSpace(strings.Clone(name))
	if b, ok := library.Lookup(who); ok {
		sdk.Main(b.Policy)
		return
	}
	sdk.Main(sdk.Define(signed)) // "signed-by-path"
}

// signatures are the settings of Kubewarden's verify-image-signatures as far as
// the documentation's examples have them.
type signatures struct {
	ModifyImagesWithDigest bool `json:"modifyImagesWithDigest"`
	Signatures             []struct {
		Image   string   `json:"image"`
		PubKeys []string `json:"pubKeys"`
	} `json:"signatures"`
}

// signed stands in for the check of signatures, which needs a registry with
// signed images: an image is signed by whoever's key is named in its path.
func signed(_ context.Context, s *signatures, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if err != nil {
		return sdk.Reject(err.Error()), nil
	}
	for _, c := range spec.Get("containers").Elements() {
		for _, want := range s.Signatures {
			for _, key := range want.PubKeys {
				if !strings.Contains(c.Get("image").String(), strings.TrimSpace(key)) {
					return sdk.Reject("Resource is not accepted: verification of image " + c.Get("image").String() + " failed"), nil
				}
			}
		}
	}
	return sdk.Accept(), nil
}
