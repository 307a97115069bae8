package capability

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// page is a list as the API server sends it, or a part of one.
type page struct {
	metav1.ListMeta
	// Items are found by this name.
	Items []*object
}

// GetObjectKind returns no kind: the watch knows it.
func (p *page) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns the page itself, which nobody changes.
func (p *page) DeepCopyObject() runtime.Object { return p }

// readPage reads a list item by item, so that no more than one item is there in
// two forms.
func readPage(r io.Reader, parser *objectParser) (*page, error) {
	p := &page{}
	dec := json.NewDecoder(r)
	if err := expect(dec, json.Delim('{')); err != nil {
		return nil, err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, unexpected(err)
		}
		switch name {
		case "metadata":
			err = dec.Decode(&p.ListMeta)
		case "items":
			err = p.items(dec, parser)
		default:
			var skipped json.RawMessage
			err = dec.Decode(&skipped)
		}
		if err != nil {
			return nil, fmt.Errorf("list: %v: %w", name, unexpected(err))
		}
	}
	if err := expect(dec, json.Delim('}')); err != nil {
		return nil, err
	}
	if p.ResourceVersion == "" {
		return nil, errors.New("list: metadata.resourceVersion is missing")
	}
	return p, nil
}

func (p *page) items(dec *json.Decoder, parser *objectParser) error {
	open, err := dec.Token()
	if err != nil || open == nil { // null is none
		return err
	}
	if open != json.Delim('[') {
		return fmt.Errorf("want an array, have %v", open)
	}
	var raw json.RawMessage
	for dec.More() {
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		o, err := parser.parse(raw)
		if err != nil {
			return fmt.Errorf("item %d: %w", len(p.Items), err)
		}
		p.Items = append(p.Items, o)
	}
	return expect(dec, json.Delim(']'))
}

func expect(dec *json.Decoder, want json.Delim) error {
	have, err := dec.Token()
	if err != nil {
		return fmt.Errorf("list: %w", unexpected(err))
	}
	if have != want {
		return fmt.Errorf("list: want %v, have %v", want, have)
	}
	return nil
}

// unexpected says that the end of a document inside of it is too early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// eventStream decodes the events of a watch. It is a watch.Decoder, whose errors
// are compared and thus not wrapped when they are the end of the stream.
type eventStream struct {
	body   io.ReadCloser
	dec    *json.Decoder
	parser *objectParser
	raw    json.RawMessage // of the last object, for its room
}

func newEventStream(body io.ReadCloser, parser *objectParser) *eventStream {
	return &eventStream{body: body, dec: json.NewDecoder(body), parser: parser}
}

// Decode returns the next event.
func (s *eventStream) Decode() (watch.EventType, runtime.Object, error) {
	event := struct {
		Type   watch.EventType
		Object json.RawMessage
	}{Object: s.raw}
	if err := s.dec.Decode(&event); err != nil {
		return "", nil, err
	}
	s.raw = event.Object[:0]
	switch event.Type {
	case watch.Added, watch.Modified, watch.Deleted:
		o, err := s.parser.parse(event.Object)
		if err != nil {
			return "", nil, fmt.Errorf("%s event: %w", event.Type, err)
		}
		return event.Type, o, nil
	case watch.Bookmark:
		var b struct{ Metadata metav1.ObjectMeta }
		if err := json.Unmarshal(event.Object, &b); err != nil {
			return "", nil, fmt.Errorf("bookmark: %w", err)
		}
		last := b.Metadata.Annotations[metav1.InitialEventsAnnotationKey] == "true"
		return event.Type, &object{version: b.Metadata.ResourceVersion, lastInitial: last}, nil
	case watch.Error:
		status := &metav1.Status{}
		if err := json.Unmarshal(event.Object, status); err != nil {
			return "", nil, fmt.Errorf("error event: %w", err)
		}
		return event.Type, status, nil
	}
	return "", nil, fmt.Errorf("an event of type %q", event.Type)
}

// Close ends the watch.
func (s *eventStream) Close() { s.body.Close() }

// brokenEvent logs an event that does not decode and passes it on: the watch
// ends there and starts anew.
type brokenEvent struct {
	log      *slog.Logger
	resource Resource
}

// AsObject returns the error as the API server's own.
func (b brokenEvent) AsObject(err error) runtime.Object {
	b.log.Warn("watch event is broken", "resource", b.resource.String(), "error", err)
	return &metav1.Status{Status: metav1.StatusFailure, Code: 500, Reason: metav1.StatusReasonInternalError, Message: err.Error()}
}
