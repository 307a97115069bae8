package guest

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAFolderOfCodeThatFailsTakesNoPolicyAway: it is full, gone, or its content
// was damaged.
func TestAFolderOfCodeThatFailsTakesNoPolicyAway(t *testing.T) {
	binary := load(t, "compute")
	for name, harm := range map[string]func(t *testing.T, dir string){
		"gone": func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		},
		"damaged": func(t *testing.T, dir string) {
			files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no code is kept in %s: %v", dir, err)
			}
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, text[:len(text)/2], 0o600); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "compiled")
			compileIn(t, dir, nil, binary) // so that there is something
			if log := compileIn(t, dir, func() { harm(t, dir) }, binary); !strings.Contains(log, "compiled module not kept, or not to be read") {
				t.Errorf("log = %s, want that the folder has failed", log)
			}
		})
	}
	t.Run("a module that is wrong is not compiled twice", func(t *testing.T) {
		var log bytes.Buffer
		c, err := NewCompiler(Options{CacheDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Compile(t.Context(), load(t, "../../../wapc/testdata/unknown_import"), unlinked); err == nil || log.Len() > 0 {
			t.Errorf("Compile = %v, log %s, want an error alone", err, &log)
		}
	})
}

// compileIn compiles and instantiates a module with a folder of compiled code, to
// which something happens before, and returns the log.
func compileIn(t *testing.T, dir string, before func(), binary []byte) string {
	t.Helper()
	var log bytes.Buffer
	c, err := NewCompiler(Options{CacheDir: dir, MemoryLimit: 16 << 20, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if before != nil {
		before()
	}
	m, err := c.Compile(t.Context(), binary, unlinked)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	in, err := m.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	return log.String()
}
