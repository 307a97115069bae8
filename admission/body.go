package admission

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// A body has to arrive within the longest time that the API server waits for an
// answer: the largest timeoutSeconds of a webhook. Source:
// k8s.io/api/admissionregistration/v1.
const bodyTimeout = 30 * time.Second

// What an answer that came before the end of the body still reads, so that the
// client gets to read it: a connection closed on a client that is sending is a
// "connection reset" to it and not a 413. Above, it has to see for itself.
const (
	maxDrainBytes = 256 << 20
	maxDrainTime  = 10 * time.Second
)

// problem is every answer that is not a review.
type problem struct {
	Message string `json:"message"`
	Status  int    `json:"status"` // of HTTP
}

// readBody returns the body of a review, or what is wrong with it. The texts
// are Kubewarden's.
//
// Buffers are not pooled: the request keeps pieces of its body, and a policy
// that has run out of time may still be reading them after the answer.
func (h *Handler) readBody(out *answer) ([]byte, *problem) {
	r := out.r
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, &problem{"Expected request with `Content-Type: application/json`", http.StatusUnsupportedMediaType}
	}
	tooLarge := &problem{"Failed to buffer the request body: length limit exceeded", http.StatusRequestEntityTooLarge}
	if r.ContentLength > h.maxBody {
		return nil, tooLarge
	}
	out.asked = true
	rc := http.NewResponseController(out.w)
	if rc.SetReadDeadline(time.Now().Add(h.bodyTimeout)) == nil { // a recorder has none
		defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(r.ContentLength) + bytes.MinRead) // ReadFrom wants that much to see the end
	}
	_, err := buf.ReadFrom(io.LimitReader(r.Body, h.maxBody+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &problem{"Failed to buffer the request body: it did not arrive within " + h.bodyTimeout.String(), http.StatusRequestTimeout}
	case err != nil:
		return nil, &problem{"Failed to buffer the request body: " + err.Error(), http.StatusBadRequest}
	case int64(buf.Len()) > h.maxBody:
		return nil, tooLarge
	}
	return buf.Bytes(), nil
}

// isJSON reports whether a content type is application/json or
// application/*+json; parameters do not matter.
func isJSON(contentType string) bool {
	if contentType == "application/json" {
		return true // what the API server sends
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return false
	}
	sub, ok := strings.CutPrefix(media, "application/")
	return ok && (sub == "json" || strings.HasSuffix(sub, "+json"))
}

// answer writes one answer, and knows what it was.
type answer struct {
	w      http.ResponseWriter
	r      *http.Request
	status int  // 0 until there is one
	asked  bool // for the body; a client may wait for that with Expect: 100-continue
	unread bool // fail has answered before the end of the body
}

// send writes a JSON answer. Only the first counts.
func (a *answer) send(status int, text []byte) {
	if a.status != 0 {
		return
	}
	a.status = status
	a.w.Header().Set("Content-Type", "application/json")
	a.w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	a.w.WriteHeader(status)
	_, _ = a.w.Write(text) // the client is gone: there is nobody to tell
}

// fail answers that there is no answer, perhaps before the end of the body.
func (a *answer) fail(status int, message string) {
	if a.status != 0 {
		return
	}
	// HTTP/2 ends the stream alone, and its clients stop sending when the
	// answer is there. HTTP/1.1 would close the connection on a client that is
	// sending.
	a.unread = a.r.ProtoMajor == 1 && a.r.ContentLength != 0
	if a.unread && !a.waits() {
		_ = http.NewResponseController(a.w).EnableFullDuplex() // a recorder cannot
	}
	a.send(status, encodeProblem(problem{message, status}))
}

// waits reports whether the client waits to be asked for the body: it will not
// send it now.
func (a *answer) waits() bool { return !a.asked && a.r.Header.Get("Expect") != "" }

// drain reads what fail left of the body.
func (a *answer) drain() {
	if !a.unread {
		return
	}
	rc := http.NewResponseController(a.w)
	if a.waits() {
		// net/http closes this connection, but not before it has looked for a
		// short body, without a limit of its own.
		_ = rc.SetReadDeadline(time.Now().Add(time.Second))
		return
	}
	_ = rc.Flush()
	_ = rc.SetReadDeadline(time.Now().Add(maxDrainTime))
	_, _ = io.CopyN(io.Discard, a.r.Body, maxDrainBytes)
	_ = rc.SetReadDeadline(time.Time{})
}

func encodeProblem(p problem) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(p) // a string and a number always encode
	return bytes.TrimSpace(buf.Bytes())
}
