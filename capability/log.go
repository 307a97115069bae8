package capability

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
)

// levelTrace is below debug, as slog counts.
const levelTrace = slog.LevelDebug - 4

// maxLogLine bounds one line of a policy's log, in bytes. A policy that has
// more to say fills the server's log with somebody else's object.
const maxLogLine = 8 << 10

// log writes a line under the policy's ID. It always answers with no bytes: a
// policy does not fail because its log line was malformed.
func (h *Host) log(ctx context.Context, payload []byte) ([]byte, error) {
	var line map[string]json.RawMessage
	if err := json.Unmarshal(payload, &line); err != nil {
		h.Log.Error("policy log line is not a JSON object", "policy", h.Policy, "error", err)
		return nil, nil
	}
	var level, message string
	_ = json.Unmarshal(line["level"], &level) // no level is info
	_ = json.Unmarshal(line["message"], &message)
	delete(line, "level")
	delete(line, "message")
	attrs := []slog.Attr{slog.String("policy", h.Policy)}
	if len(line) > 0 {
		data, err := json.Marshal(line)
		if err == nil {
			attrs = append(attrs, slog.String("data", cut(string(data))))
		}
	}
	h.Log.LogAttrs(ctx, levelOf(level), cut(message), attrs...) //nolint:sloglint // the words are the policy's
	return nil, nil
}

func levelOf(name string) slog.Level {
	switch strings.ToLower(name) {
	case "trace":
		return levelTrace
	case "debug":
		return slog.LevelDebug
	case "warn", "warning":
		return slog.LevelWarn
	case "error", "critical":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// cut shortens a text that is too long, and leaves no half of a character.
func cut(text string) string {
	if len(text) > maxLogLine {
		return strings.ToValidUTF8(text[:maxLogLine], "") + "… (cut)"
	}
	return text
}
