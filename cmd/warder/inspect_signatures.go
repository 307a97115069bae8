package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/warder-dev/warder/artifact"
)

// signaturesOf are the signatures that a registry has of an image.
type signaturesOf struct {
	image string // by digest
	list  []artifact.FoundSignature
}

// findSignatures looks for the signatures of what a person names, which must be
// in a registry, or have come from one.
func findSignatures(ctx context.Context, client *artifact.Client, what string) (*signaturesOf, error) {
	image := what
	if !strings.ContainsAny(what, "/:") {
		store, err := openStore()
		if err != nil {
			return nil, err
		}
		stored, err := store.Find(what)
		switch {
		case err == nil:
			image = stored.Reference
		case !errors.Is(err, artifact.ErrNotFound):
			return nil, err
		}
	}
	r, err := artifact.ParseReference(image)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(what); err == nil || r.Scheme != artifact.Registry {
		return nil, fmt.Errorf("--show-signatures: %s is in no registry, and so has no signatures", what)
	}
	digest, list, err := artifact.NewVerifier(artifact.VerifierOptions{Reach: client.Reach}).Signatures(ctx, r.Image())
	if err != nil {
		return nil, err
	}
	if list == nil {
		list = []artifact.FoundSignature{} // in JSON a list too
	}
	return &signaturesOf{r.Pinned(digest), list}, nil
}

// describe shows the signatures to a person. They are a stranger's, as metadata.
func (s *signaturesOf) describe() []byte {
	var b bytes.Buffer
	_, _ = fmt.Fprintf(&b, "\nSignatures of %s\n", oneLine(s.image))
	if len(s.list) == 0 {
		b.WriteString("none\n")
		return b.Bytes()
	}
	b.WriteString("This is what they say of themselves. Nothing is verified; see warder verify.\n")
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(key, value string) { _, _ = fmt.Fprintf(table, "  %s:\t%s\n", key, oneLine(value)) }
	for _, f := range s.list {
		_, _ = fmt.Fprintf(table, "- %s\n", oneLine(f.Source))
		if f.Problem != "" {
			row("cannot be read", f.Problem)
			continue
		}
		row("made by", cmp.Or(f.Subject, "a key"))
		if f.Issuer != "" {
			row("issuer", f.Issuer)
		}
		if f.Repository != "" {
			row("repository", f.Repository)
		}
		for _, key := range slices.Sorted(maps.Keys(f.Annotations)) {
			row("annotation "+oneLine(key), f.Annotations[key])
		}
	}
	_ = table.Flush() // to memory
	return b.Bytes()
}
