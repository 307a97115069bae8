package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestScripts(t *testing.T) {
	commands := registryCommands()
	maps.Copy(commands, serverCommands())
	demo, err := filepath.Abs("demo")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true, Cmds: commands,
		Setup: func(env *testscript.Env) error {
			env.Setenv("DEMO", demo) // where a policy in WebAssembly is
			return nil
		},
	})
}

// serverCommands are what scripts with a policy server need:
//
//	awaitserve LOG   waits until the server that logs there has its policies, and sets $API and $PROBES
//	post PATH FILE   posts a file to $API and prints status and answer
//	get PATH         gets a page from $PROBES
//	await TEXT PATH  gets that page until the text is in it
func serverCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"awaitserve": awaitServe,
		"post": func(ts *testscript.TestScript, _ bool, args []string) {
			body, err := os.ReadFile(ts.MkAbs(args[1]))
			ts.Check(err)
			_, _ = fmt.Fprintln(ts.Stdout(), scriptAsk(ts, http.MethodPost, "https://"+ts.Getenv("API")+args[0], body))
		},
		"get": func(ts *testscript.TestScript, _ bool, args []string) {
			_, _ = fmt.Fprintln(ts.Stdout(), scriptAsk(ts, http.MethodGet, "http://"+ts.Getenv("PROBES")+args[0], nil))
		},
		"await": func(ts *testscript.TestScript, _ bool, args []string) {
			page := ""
			if !eventually(func() bool {
				page = scriptAsk(ts, http.MethodGet, "http://"+ts.Getenv("PROBES")+args[1], nil)
				return strings.Contains(page, args[0])
			}) {
				ts.Fatalf("%s has no %q:\n%s", args[1], args[0], page)
			}
			_, _ = fmt.Fprintln(ts.Stdout(), page)
		},
	}
}

func awaitServe(ts *testscript.TestScript, _ bool, args []string) {
	log := ""
	if !eventually(func() bool {
		text, _ := os.ReadFile(ts.MkAbs(args[0])) // not there yet, or empty
		log = string(text)
		return serving().MatchString(log)
	}) {
		ts.Fatalf("the server does not serve:\n%s", log)
	}
	found := serving().FindStringSubmatch(log)
	ts.Setenv("API", found[1])
	ts.Setenv("PROBES", found[2])
	ready := func() bool {
		return scriptAsk(ts, http.MethodGet, "http://"+found[2]+"/readiness", nil) == "200 "
	}
	if !eventually(ready) {
		text, _ := os.ReadFile(ts.MkAbs(args[0]))
		ts.Fatalf("the server does not get ready:\n%s", text)
	}
}

// scriptAsk returns status and body of one request.
func scriptAsk(ts *testscript.TestScript, method, url string, body []byte) string {
	req, err := http.NewRequest(method, url, bytes.NewReader(body)) //nolint:noctx // the test's own time is enough
	ts.Check(err)
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	ts.Check(err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	ts.Check(err)
	return fmt.Sprintf("%d %s", resp.StatusCode, text)
}
