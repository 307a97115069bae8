package capability

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/warder-dev/warder/sdk"
)

// Session is what policies have asked and what they were told, in order: a
// Recorder adds to it, a Player answers from it. The zero Session is empty. It
// is safe for concurrent use. ParseSession and Encode read and write the format
// of Kubewarden's kwctl.
type Session struct {
	mu        sync.Mutex
	exchanges []exchange
	played    []bool // by exchange; may be shorter
}

// exchange is a question and its answer; failure is the answer if err is true.
type exchange struct {
	question question
	err      bool
	answer   string // JSON as it was given, or the message of the error
}

// Unplayed returns the questions that no policy has asked since the session was
// read or rewound.
func (s *Session) Unplayed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []string
	for i := range s.exchanges {
		if !s.isPlayed(i) {
			left = append(left, cut(s.exchanges[i].question.String()))
		}
	}
	return left
}

// Rewind plays from the start again, for the next of several evaluations.
func (s *Session) Rewind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.played = nil
}

func (s *Session) isPlayed(i int) bool { return i < len(s.played) && s.played[i] }

func (s *Session) play(i int) {
	if s.played == nil {
		s.played = make([]bool, len(s.exchanges))
	}
	s.played[i] = true
}

// next returns the place of the first exchange that is not played yet.
func (s *Session) next() int {
	for i := range s.exchanges {
		if !s.isPlayed(i) {
			return i
		}
	}
	return len(s.exchanges)
}

var errEmpty = errors.New("the list of recorded responses is empty")

// ask plays the next exchange. It is used up even if it is another question's,
// as in kwctl.
func (s *Session) ask(q question) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.next()
	if i == len(s.exchanges) {
		return nil, evaluated(errEmpty)
	}
	s.play(i)
	next := s.exchanges[i]
	if want, have := next.question.String(), q.String(); want != have {
		return nil, mismatch(want, have)
	}
	return next.result()
}

func mismatch(want, have string) error {
	return evaluated(fmt.Errorf("Replay error: unexpected request. Was expecting %s, got %s instead", cut(want), cut(have))) //nolint:staticcheck // upstream's text
}

func (e exchange) result() ([]byte, error) {
	if e.err {
		return nil, evaluated(errors.New(e.answer))
	}
	return []byte(e.answer), nil
}

// inventory plays what a Rego policy asks before it is evaluated: the objects
// of a kind and its plural. Kubewarden asks for all lists and then for all
// plurals, in the order of a hash map, so any order among these will do.
func (s *Session) inventory(r Resource) (plural string, list json.RawMessage, revision uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	listAll := question{tagListAll, &listAllFields{kindFields: kindFields(r)}}
	s.find(question{tagChanged, &changedFields{listAllFields: listAllFields{kindFields: kindFields(r)}}}) // the list says it all
	at, ok := s.find(listAll)
	if !ok {
		i := s.next()
		if i == len(s.exchanges) {
			return "", nil, 0, evaluated(errEmpty)
		}
		return "", nil, 0, mismatch(s.exchanges[i].question.String(), listAll.String())
	}
	if list, err = s.exchanges[at].result(); err != nil {
		return "", nil, 0, err
	}
	if i, ok := s.find(question{tagPlural, &kindFields{r.APIVersion, r.Kind}}); ok {
		text, err := s.exchanges[i].result()
		if err != nil {
			return "", nil, 0, err
		}
		if plural, err = decodeText(text); err != nil {
			return "", nil, 0, evaluated(fmt.Errorf("plural name of %s/%s in the recorded session: %w", r.APIVersion, r.Kind, err))
		}
	}
	return plural, list, uint64(at) + 1, nil
}

// find plays the first exchange of this question before any of another
// capability.
func (s *Session) find(q question) (place int, ok bool) {
	want := q.String()
	for i := s.next(); i < len(s.exchanges); i++ {
		have := s.exchanges[i].question
		if have.tag != tagListAll && have.tag != tagPlural && have.tag != tagChanged {
			break
		}
		if !s.isPlayed(i) && have.String() == want {
			s.play(i)
			return i, true
		}
	}
	return 0, false
}

// add writes down an exchange. Of an error it needs the cause: the prefix of a
// failure is put before it again. Other errors are about the grants or the
// payload, and come before a Player is asked.
func (s *Session) add(q question, answer []byte, err error) {
	e := exchange{question: q, answer: string(answer)}
	if err != nil {
		var f *failure
		if !errors.As(err, &f) {
			return
		}
		e.err, e.answer = true, f.cause.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.tag != tagListAll {
		s.exchanges = append(s.exchanges, e)
		return
	}
	// All lists of an inventory come before its plurals, as in Kubewarden.
	at := len(s.exchanges)
	for at > 0 && s.exchanges[at-1].question.tag == tagPlural {
		at--
	}
	s.exchanges = slices.Insert(s.exchanges, at, e)
}

// inventoryHost is a host that lists what a Rego policy sees of the cluster.
type inventoryHost interface {
	sdk.Host
	Inventory(ctx context.Context, apiVersion, kind string) (plural string, list json.RawMessage, revision uint64, err error)
}

// Recorder is a host that writes down what another one answers. What that one
// refuses is not written down: it would refuse it again before a Player is
// asked.
type Recorder struct {
	host    *Host
	asked   sdk.Host // the host; a test asks another
	session *Session
}

// NewRecorder returns a host that asks host and adds to session, which several
// recorders may share.
func NewRecorder(host *Host, session *Session) *Recorder { return &Recorder{host, host, session} }

// Call implements sdk.Host.
func (r *Recorder) Call(ctx context.Context, c sdk.HostCall) ([]byte, error) {
	q, ok, err := r.host.question(c)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return r.asked.Call(ctx, c)
	}
	answer, err := r.asked.Call(ctx, c)
	r.session.add(q, answer, err)
	return answer, err
}

// Inventory writes down what Kubewarden would have asked for it.
func (r *Recorder) Inventory(ctx context.Context, apiVersion, kind string) (plural string, list json.RawMessage, revision uint64, err error) {
	host, ok := r.asked.(inventoryHost)
	if !ok {
		return "", nil, 0, evaluated(errors.New("this host has no inventory of the cluster"))
	}
	plural, list, revision, err = host.Inventory(ctx, apiVersion, kind)
	r.session.add(question{tagListAll, &listAllFields{kindFields: kindFields{apiVersion, kind}}}, list, err)
	if err == nil {
		text, _ := json.Marshal(plural) // a string always can be
		r.session.add(question{tagPlural, &kindFields{apiVersion, kind}}, text, nil)
	}
	return plural, list, revision, err
}

// Player is a host that answers from a session, strictly in order. It asks no
// service. Log lines (tracing/log) are written and not looked for.
type Player struct {
	host    *Host
	session *Session
}

// NewPlayer returns a host that grants what host grants and answers from
// session, which several players may share.
func NewPlayer(host *Host, session *Session) *Player { return &Player{host, session} }

// Call implements sdk.Host.
func (p *Player) Call(ctx context.Context, c sdk.HostCall) ([]byte, error) {
	q, ok, err := p.host.question(c)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return p.host.Call(ctx, c)
	case ctx.Err() != nil:
		return nil, evaluated(ctx.Err())
	}
	return p.session.ask(q)
}

// Inventory returns the recorded objects of a kind, and its plural; "" if the
// session does not tell it, as those of Gatekeeper policies do not.
func (p *Player) Inventory(ctx context.Context, apiVersion, kind string) (plural string, list json.RawMessage, revision uint64, err error) {
	r := Resource{apiVersion, kind}
	if err := p.host.mayRead(r); err != nil {
		return "", nil, 0, err
	}
	if err := ctx.Err(); err != nil {
		return "", nil, 0, evaluated(err)
	}
	return p.session.inventory(r)
}

// question returns what a call asks, if a session is to know of it, or what is
// wrong with the call.
func (h *Host) question(c sdk.HostCall) (q question, ok bool, err error) {
	if _, err := h.admit(c); err != nil || c.Namespace == "tracing" {
		return question{}, false, err
	}
	if q, err = questionOf(c); err != nil {
		return question{}, false, err
	}
	if r, ok := q.resource(); ok {
		err = h.mayRead(r)
	}
	return q, err == nil, err
}
