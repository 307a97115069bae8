package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/warder-dev/warder/sdk"
)

// DecodeVerdict decodes Kubewarden's ValidationResponse. Names that it does
// not know are ignored, as upstream does.
func DecodeVerdict(text []byte) (sdk.Verdict, error) {
	var r struct {
		Accepted         *bool             `json:"accepted"`
		Message          *string           `json:"message"`
		Code             *uint16           `json:"code"`
		MutatedObject    json.RawMessage   `json:"mutated_object"`
		AuditAnnotations map[string]string `json:"audit_annotations"`
		Warnings         []string          `json:"warnings"`
	}
	if err := decode(text, &r); err != nil {
		return sdk.Verdict{}, err
	}
	if r.Accepted == nil {
		return sdk.Verdict{}, errors.New("missing field `accepted`")
	}
	v := sdk.Verdict{Accepted: *r.Accepted, AuditAnnotations: r.AuditAnnotations, Warnings: r.Warnings}
	if r.Message != nil {
		v.Message = *r.Message
	}
	if r.Code != nil {
		v.Code = *r.Code
	}
	if len(r.MutatedObject) > 0 && string(r.MutatedObject) != "null" {
		v.MutatedObject = r.MutatedObject
	}
	return v, nil
}

// DecodeSettingsVerdict decodes the answer to a validation of settings.
func DecodeSettingsVerdict(text []byte) (sdk.SettingsVerdict, error) {
	var r struct {
		Valid   *bool   `json:"valid"`
		Message *string `json:"message"`
	}
	if err := decode(text, &r); err != nil {
		return sdk.SettingsVerdict{}, err
	}
	if r.Valid == nil {
		return sdk.SettingsVerdict{}, errors.New("missing field `valid`")
	}
	v := sdk.SettingsVerdict{Valid: *r.Valid}
	if r.Message != nil {
		v.Message = *r.Message
	}
	return v, nil
}

func decode(text []byte, target any) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return errors.New("the policy gave no answer")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(target); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("trailing characters at offset %d", d.InputOffset())
	}
	return nil
}
