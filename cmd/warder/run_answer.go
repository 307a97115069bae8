package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
)

// answers prints what policies say: for people, or as JSON, a line for each.
type answers struct {
	out     io.Writer
	json    bool
	several bool // the policies are named
}

func (a answers) print(p policy.Policy, d engine.Decision) {
	if a.json {
		_, _ = fmt.Fprintf(a.out, "%s\n", d.Response.AppendJSON(nil))
		return
	}
	r := d.Response
	said := "allowed"
	if !r.Allowed {
		said = "rejected"
		if r.Status != nil && r.Status.Message != "" {
			said += ": " + r.Status.Message
		}
	}
	if a.several {
		said = string(p.ID) + ": " + said
	}
	_, _ = fmt.Fprintln(a.out, said)
	if r.Status != nil {
		for _, c := range r.Status.Causes {
			a.line("cause", strings.TrimPrefix(c.Field, "spec.policies."), cmp.Or(c.Message, c.Reason))
		}
	}
	for _, w := range r.Warnings {
		a.line("warning", "", w)
	}
	a.patch(r.Patch)
}

// line prints something that belongs to the verdict above.
func (a answers) line(what, of, text string) {
	if of != "" {
		text = of + ": " + text
	}
	_, _ = fmt.Fprintf(a.out, "  %s: %s\n", what, text)
}

// patch prints the operations of a patch, a line for each.
func (a answers) patch(text json.RawMessage) {
	var operations []struct {
		Op, Path, From string
		Value          json.RawMessage
	}
	if text == nil || json.Unmarshal(text, &operations) != nil {
		return // the engine has made it
	}
	for _, o := range operations {
		text := o.Op + " " + o.Path
		if o.From != "" {
			text += " from " + o.From
		}
		if o.Value != nil {
			text += " " + string(o.Value)
		}
		a.line("patch", "", text)
	}
}
