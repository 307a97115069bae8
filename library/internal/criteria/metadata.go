package criteria

import (
	"context"

	"github.com/warder-dev/warder/sdk"
)

// JudgeMetadata is the judge of a rule on the keys of one map in the metadata of
// an object of any kind: "labels" or "annotations".
func (r Rule) JudgeMetadata(_ context.Context, field string, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	if req.Object == nil {
		return sdk.Accept(), nil // a deletion: there is nothing to look at
	}
	object := sdk.View(req.Object)
	var keys []string
	for key, value := range object.Get("metadata", field).Members() {
		_ = value.String() // anything else than a string is a mistake
		keys = append(keys, key)
	}
	if !object.Exists() || object.Err() != nil {
		return sdk.Reject("Cannot parse validation request: " + wrong(object)), nil
	}
	if problem := r.Problem(keys); problem != "" {
		return sdk.Reject(problem + ". Change metadata." + field), nil
	}
	return sdk.Accept(), nil
}

func wrong(object sdk.Value) string {
	if err := object.Err(); err != nil {
		return err.Error()
	}
	return "the object is missing"
}
