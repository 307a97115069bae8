package sdk

import "context"

// Level is how loud a log line is.
type Level string

// The levels that hosts know.
const (
	LevelTrace Level = "trace"
	LevelDebug Level = "debug"
	LevelInfo  Level = "info"
	LevelWarn  Level = "warning"
	LevelError Level = "error"
)

// Log writes a line to the host's log, under the policy's ID. Data is added to
// it as JSON; its keys "level" and "message" are overwritten. Logging is always
// granted, and never fails a verdict: where there is no host it does nothing.
func Log(ctx context.Context, level Level, message string, data map[string]any) {
	line := map[string]any{}
	for k, v := range data {
		line[k] = v
	}
	line["level"], line["message"] = level, message
	_, _ = askRaw(ctx, "tracing", "log", line) // a log line that is lost changes no verdict
}
