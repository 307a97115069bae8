package sdk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Patch is a list of changes to a JSON document, as RFC 6902 has them. It
// edits the text in place of what changes: names that the author of the policy
// has never heard of, the order of members and the spelling of numbers stay.
type Patch []PatchOperation

// PatchOperation is one change.
type PatchOperation struct {
	Op    PatchOp         `json:"op"`
	Path  string          `json:"path"` // a JSON pointer, RFC 6901
	Value json.RawMessage `json:"value,omitempty"`
}

// PatchOp says what a PatchOperation does.
type PatchOp string

// The operations that a policy may use. Set is Add that also makes the objects
// missing on the way; it is of this package, not of RFC 6902, and never leaves
// the policy.
const (
	PatchAdd     PatchOp = "add"
	PatchReplace PatchOp = "replace"
	PatchRemove  PatchOp = "remove"
	PatchSet     PatchOp = "set"
)

// Set appends the change that makes value the member at the pointer, making
// objects that are missing (or null) on the way. The value is encoded with
// encoding/json; one that cannot be is an error of Apply.
func (p *Patch) Set(pointer string, value any) { p.add(PatchSet, pointer, value) }

// Add appends the change that adds value at the pointer: a member (in place of
// the one that was there), or an element before that index ("-" for the end).
func (p *Patch) Add(pointer string, value any) { p.add(PatchAdd, pointer, value) }

// Replace appends the change that replaces the value at the pointer.
func (p *Patch) Replace(pointer string, value any) { p.add(PatchReplace, pointer, value) }

// Remove appends the change that removes the value at the pointer.
func (p *Patch) Remove(pointer string) {
	*p = append(*p, PatchOperation{Op: PatchRemove, Path: pointer})
}

func (p *Patch) add(op PatchOp, pointer string, value any) {
	raw, err := json.Marshal(value)
	if err != nil {
		raw = nil // Apply refuses an operation without a value
	}
	*p = append(*p, PatchOperation{Op: op, Path: pointer, Value: raw})
}

// EscapePointer returns name as one token of a JSON pointer.
func EscapePointer(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

// PatchError reports the operation of a Patch that cannot be done.
type PatchError struct {
	Index     int // of the operation, from 0
	Operation PatchOperation
	Problem   string
}

func (e *PatchError) Error() string {
	return fmt.Sprintf("patch operation %d: %s %q: %s", e.Index, e.Operation.Op, e.Operation.Path, e.Problem)
}

// Apply returns the document with the changes made in their order. The text
// given is not changed. The error is a *PatchError.
func (p Patch) Apply(text json.RawMessage) (json.RawMessage, error) {
	if len(p) == 0 {
		return text, nil
	}
	root := node{text: bytes.TrimSpace(text)}
	if len(root.text) == 0 {
		root.text = []byte("null")
	}
	if Check(root.text) != nil {
		return nil, &PatchError{0, p[0], "the document is not JSON"}
	}
	for i, op := range p {
		if problem := op.apply(&root); problem != "" {
			return nil, &PatchError{i, op, problem}
		}
	}
	return root.appendTo(make([]byte, 0, len(text)+64*len(p))), nil
}

func (op PatchOperation) apply(root *node) (problem string) {
	switch op.Op {
	case PatchAdd, PatchReplace, PatchSet:
		if Check(op.Value) != nil {
			return "the value is not JSON"
		}
	case PatchRemove:
	default:
		return fmt.Sprintf("no operation is called %q", op.Op)
	}
	if op.Path == "" {
		if op.Op == PatchRemove {
			return "the document itself cannot be removed"
		}
		*root = op.node()
		return ""
	}
	if op.Path[0] != '/' {
		return "the path does not start with a slash"
	}
	tokens := strings.Split(op.Path[1:], "/")
	for i := range tokens {
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(tokens[i], "~1", "/"), "~0", "~")
	}
	last := len(tokens) - 1
	for _, token := range tokens[:last] {
		if root, problem = op.step(root, token); problem != "" {
			return problem
		}
	}
	return op.change(root, tokens[last])
}

// node is the operation's value as a part of a document.
func (op PatchOperation) node() node { return node{text: bytes.TrimSpace(op.Value)} }

// step goes to the child of n called token, which Set makes if need be.
func (op PatchOperation) step(n *node, token string) (next *node, problem string) {
	at, problem := n.find(token)
	if problem != "" {
		return nil, problem
	}
	if at == len(n.children) || op.Op == PatchSet && string(n.children[at].value.text) == "null" {
		if op.Op != PatchSet || !n.isObject() {
			return nil, fmt.Sprintf("there is no %q", token)
		}
		n.put(at, token, node{text: []byte("{}")})
	}
	return &n.children[at].value, ""
}

// change does the operation to the child of n called token.
func (op PatchOperation) change(n *node, token string) (problem string) {
	at, problem := n.find(token)
	if problem != "" {
		return problem
	}
	found := at < len(n.children)
	switch {
	case op.Op == PatchAdd && found && !n.isObject():
		n.insert(at, op.node())
	case op.Op == PatchAdd || op.Op == PatchSet:
		n.put(at, token, op.node())
	case !found:
		return fmt.Sprintf("there is no %q", token)
	case op.Op == PatchReplace:
		n.put(at, token, op.node())
	default:
		n.remove(at, token)
	}
	return ""
}
