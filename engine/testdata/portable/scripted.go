package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/warder-dev/warder/sdk"
)

// script is a verdict, and what to do before it is given.
type script struct {
	Accepted    bool              `json:"accepted"`
	Message     string            `json:"message"`
	Code        uint16            `json:"code"`
	Warnings    []string          `json:"warnings"`
	Annotations map[string]string `json:"annotations"`
	// Append is put at the end of the object's field "trail", if it has one.
	Append string `json:"append"`
	// Set are values by JSON pointer, put into the object in the order of the pointers.
	Set map[string]json.RawMessage `json:"set"`
	// Error is why there is no verdict.
	Error string `json:"error"`
	// Loop keeps the policy from ever giving a verdict, but on the request with
	// which a runtime tries a policy out: loading it would take as long as that
	// may take.
	Loop bool `json:"loop"`
	// Lookup is a host name to ask for; the error is the message.
	Lookup string `json:"lookup"`
	// Ask is a call of the host; its answer or error is the message.
	Ask *call `json:"ask"`
	// Log is written to the host's log.
	Log string `json:"log"`
}

// call is a call of the host.
type call struct {
	Namespace string          `json:"namespace"`
	Operation string          `json:"operation"`
	Payload   json.RawMessage `json:"payload"`
}

func scripted(ctx context.Context, s *script, req *sdk.Request) (sdk.Verdict, error) {
	for s.Loop && req.UID != "warder-probe" {
	}
	if s.Error != "" {
		return sdk.Verdict{}, errors.New(s.Error)
	}
	v := sdk.Verdict{
		Accepted: s.Accepted, Message: s.Message, Code: s.Code,
		Warnings: s.Warnings, AuditAnnotations: s.Annotations,
	}
	if s.Log != "" {
		sdk.Log(ctx, sdk.LevelWarn, s.Log, map[string]any{"uid": req.UID})
	}
	if s.Lookup != "" {
		if _, err := sdk.LookupHost(ctx, s.Lookup); err != nil {
			v.Message = err.Error()
		}
	}
	if s.Ask != nil && req.UID != "warder-probe" {
		answer, err := sdk.HostFrom(ctx).Call(ctx, sdk.HostCall{
			Binding: sdk.Binding, Namespace: s.Ask.Namespace, Operation: s.Ask.Operation, Payload: s.Ask.Payload,
		})
		v.Message = string(answer)
		if err != nil {
			v.Message = err.Error()
		}
	}
	subject := req.Object
	if req.Raw != nil {
		subject = req.Raw
	}
	if trail := sdk.View(subject).Get("trail"); s.Append != "" && trail.Exists() {
		v.Patch.Replace("/trail", trail.String()+s.Append)
	}
	for _, pointer := range slices.Sorted(maps.Keys(s.Set)) {
		v.Patch.Set(pointer, s.Set[pointer])
	}
	return v, nil
}
