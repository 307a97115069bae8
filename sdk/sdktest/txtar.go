package sdktest

import (
	"fmt"
	"strings"
)

// archive is a txtar file: a comment and named files. Format:
// https://pkg.go.dev/golang.org/x/tools/txtar.
type archive struct {
	comment string
	files   map[string]string
}

// parseArchive reads the text of a txtar file. A name that comes twice is an
// error.
func parseArchive(text string) (archive, error) {
	a := archive{files: map[string]string{}}
	name, body := "", &strings.Builder{}
	end := func() error {
		if name == "" {
			a.comment = body.String()
			return nil
		}
		if _, ok := a.files[name]; ok {
			return fmt.Errorf("%s: the file is there twice", name)
		}
		a.files[name] = body.String()
		return nil
	}
	for line := range strings.Lines(text) {
		next, ok := fileMarker(line)
		if !ok {
			body.WriteString(line)
			continue
		}
		if err := end(); err != nil {
			return a, err
		}
		name, body = next, &strings.Builder{}
	}
	return a, end()
}

// fileMarker returns the name in a line like "-- name --".
func fileMarker(line string) (string, bool) {
	line = strings.TrimRight(line, " \t\r\n")
	name, ok := strings.CutPrefix(line, "-- ")
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(name, " --")
	name = strings.TrimSpace(name)
	return name, ok && name != ""
}
