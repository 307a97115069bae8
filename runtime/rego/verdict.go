package rego

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/warder-dev/warder/sdk"
)

// verdict reads the result of an evaluation, a list as [{"result": X}], which is
// empty when the entrypoint is undefined. Whatever does not decode is no
// verdict.
func (f Flavour) verdict(req *sdk.Request, result []byte) (sdk.Verdict, error) {
	var all []json.RawMessage
	if err := json.Unmarshal(result, &all); err != nil {
		return sdk.Verdict{}, fmt.Errorf("result: %w", err)
	}
	var first json.RawMessage
	if len(all) > 0 {
		first = all[0]
	}
	if f == OPA {
		return opaVerdict(req, first)
	}
	return gatekeeperVerdict(first)
}

// object decodes a JSON object, nil if it is none. (A struct would be filled by
// names in any case.)
func object(text json.RawMessage) (all map[string]json.RawMessage) {
	if json.Unmarshal(text, &all) != nil {
		return nil
	}
	return all
}

// gatekeeperVerdict decodes {"result": [{"msg": "…"}, …]}.
func gatekeeperVerdict(first json.RawMessage) (sdk.Verdict, error) {
	const step = "cannot interpret Gatekeeper policy result: "
	result, ok := object(first)["result"]
	if !ok {
		return sdk.Verdict{}, errors.New(step + "the entrypoint is undefined")
	}
	var violations []json.RawMessage
	if err := json.Unmarshal(result, &violations); err != nil || violations == nil {
		return sdk.Verdict{}, errors.New(step + "it is not a list of violations")
	}
	var messages []string
	for i, text := range violations {
		violation := object(text)
		if violation == nil {
			return sdk.Verdict{}, fmt.Errorf(step+"violation %d is not an object", i)
		}
		var message *string
		if msg, ok := violation["msg"]; ok {
			if err := json.Unmarshal(msg, &message); err != nil {
				return sdk.Verdict{}, fmt.Errorf(step+"violation %d: msg is not a string", i)
			}
		}
		if message != nil {
			messages = append(messages, *message)
		}
	}
	return sdk.Verdict{Accepted: len(violations) == 0, Message: strings.Join(messages, ", ")}, nil
}

// opaVerdict decodes {"result": {"response": AdmissionResponse}}.
func opaVerdict(req *sdk.Request, first json.RawMessage) (sdk.Verdict, error) {
	text, ok := object(object(first)["result"])["response"]
	if !ok {
		return sdk.Verdict{}, errors.New("cannot interpret OPA policy result")
	}
	fields := object(text)
	if fields == nil {
		return sdk.Verdict{}, errors.New("invalid type of the response, expected an AdmissionResponse")
	}
	var v sdk.Verdict
	var uid, patchType *string
	var allowed *bool
	var status json.RawMessage
	var patch []byte
	err := decodeFields(fields, []field{
		{"uid", &uid}, {"allowed", &allowed}, {"patchType", &patchType}, {"patch", &patch},
		{"status", &status}, {"auditAnnotations", &v.AuditAnnotations}, {"warnings", &v.Warnings},
	})
	switch {
	case err != nil:
		return sdk.Verdict{}, err
	case uid == nil:
		return sdk.Verdict{}, errors.New("missing field `uid`")
	case allowed == nil:
		return sdk.Verdict{}, errors.New("missing field `allowed`")
	}
	v.Accepted = *allowed
	if err := decodeStatus(status, &v); err != nil {
		return sdk.Verdict{}, err
	}
	switch {
	case patchType != nil && *patchType != "JSONPatch":
		return sdk.Verdict{}, fmt.Errorf("patchType: unknown variant `%s`, expected `JSONPatch`", *patchType)
	case patch == nil:
		return v, nil
	case patchType == nil:
		return sdk.Verdict{}, errors.New("a patch without patchType")
	}
	v.MutatedObject, err = patched(req, patch)
	return v, err
}

// field is a member of an object and where it goes. Null leaves it as it is.
type field struct {
	name   string
	target any
}

func decodeFields(from map[string]json.RawMessage, fields []field) error {
	for _, f := range fields {
		text, ok := from[f.name]
		if !ok {
			continue
		}
		if err := json.Unmarshal(text, f.target); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

func decodeStatus(status json.RawMessage, v *sdk.Verdict) error {
	if status == nil || string(status) == "null" {
		return nil
	}
	fields := object(status)
	if fields == nil {
		return errors.New("status: it is not an object")
	}
	return decodeFields(fields, []field{{"message", &v.Message}, {"code", &v.Code}})
}

// patched applies a JSON patch to what the request would store.
func patched(req *sdk.Request, text []byte) (json.RawMessage, error) {
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	subject := req.Object
	if req.Raw != nil {
		subject = req.Raw
	}
	if len(patch) == 0 {
		return nil, nil
	}
	if subject == nil {
		// There is nothing to change, as in a deletion: whatever is put in its
		// place, the host refuses in its own words.
		return json.RawMessage("{}"), nil
	}
	options := jsonpatch.NewApplyOptions()
	options.SupportNegativeIndices = false
	options.AccumulatedCopySizeLimit = int64(maxCopied)
	mutated, err := patch.ApplyWithOptions(subject, options)
	if err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	return bytes.TrimSpace(mutated), nil
}

// maxCopied bounds what the operations "copy" of a patch may add, 16 MiB: five
// times the largest object that etcd stores, as for other answers of a policy.
const maxCopied = 16 << 20
