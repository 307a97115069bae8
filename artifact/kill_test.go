//go:build unix

package artifact

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/warder-dev/warder/wasm"
)

// killable is what a child is told in its environment.
const killable = "WARDER_TEST_KILLABLE" // WORK HOST DIR

// killModule is the i-th of the modules that children push and pull.
func killModule(i int) []byte {
	return wasm.Append([]byte(wasm.Header), wasm.Section{ID: wasm.SectionCustom, Payload: append(wasm.AppendName(nil, "n"), bytes.Repeat([]byte{byte(i)}, 200_000+i)...)})
}

const killModules = 4

// TestKilledAtAnyMoment kills processes that pull, push, load and remove in one
// store, and that keep a registry, four at a time. WARDER_KILLS says how often:
// 200 when it is not set.
func TestKilledAtAnyMoment(t *testing.T) {
	kills := 200
	if text := os.Getenv("WARDER_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	h := newHub(t, httptest.NewServer)
	c := h.insecure()
	for i := range killModules {
		h.push(c, killModule(i), fmt.Sprintf("acme/p:v%d", i))
	}
	h.push(c, killModule(0), "acme/p:latest")
	store, registry := filepath.Join(t.TempDir(), "store"), t.TempDir()
	works := []string{"pull", "load", "remove", "push"}
	for killed := 0; killed < kills && !t.Failed(); killed += 4 {
		ends := []func(){startChild(t, "pull", h.host(), store), startChild(t, "registry", h.host(), registry)}
		for range 2 {
			ends = append(ends, startChild(t, works[rand.IntN(len(works))], h.host(), store))
		}
		<-time.After(time.Duration(rand.IntN(60_000)) * time.Microsecond)
		for _, end := range ends {
			end()
		}
		checkStore(t, c, h.host(), store)
		checkRegistry(t, registry)
		if rand.IntN(2) == 0 { // so that there is something to write again
			if err := os.RemoveAll(store); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// startChild starts a process and waits until it works. What it returns kills it.
func startChild(t *testing.T, work, host, dir string) (kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), killable+"="+work+" "+host+" "+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "working" {
		t.Fatalf("%s: the child says %q", work, lines.Text())
	}
	return func() {
		_ = cmd.Process.Kill() // SIGKILL
		for lines.Scan() {
			t.Errorf("%s: the child says %s", work, lines.Text())
		}
		_ = cmd.Wait()
	}
}

// TestKilledChild is no test: it is what is killed.
func TestKilledChild(t *testing.T) {
	told := strings.Fields(os.Getenv(killable))
	if len(told) != 3 {
		t.Skip("for TestKilledAtAnyMoment")
	}
	work, host, dir := told[0], told[1], told[2]
	fmt.Fprintln(os.Stdout, "working")
	for i := 0; ; i++ {
		if err := killWork(t.Context(), work, host, dir, i); err != nil {
			fmt.Fprintln(os.Stdout, err)
			return
		}
	}
}

func killWork(ctx context.Context, work, host, dir string, i int) error { //nolint:revive // all that a child knows
	if work == "registry" {
		return pushToFolder(dir, i)
	}
	c, err := NewClient(ClientOptions{Sources: Sources{Insecure: []string{host}}})
	if err != nil {
		return err
	}
	if work == "push" {
		_, err := c.Push(ctx, killModule(i%killModules), host+"/acme/p:latest", map[string]string{"n": strconv.Itoa(rand.Int())})
		return err
	}
	store, err := OpenStore(dir)
	if err != nil {
		return err
	}
	one := fmt.Sprintf("registry://%s/acme/p:v%d", host, i%killModules)
	switch work {
	case "remove":
		_, _ = store.Remove(one) // it may not be there
		return nil
	case "load":
		var out bytes.Buffer
		if err := store.Save(&out, one); err != nil {
			return nil //nolint:nilerr // it may not be there
		}
		_, err := store.Load(&out)
		return err
	}
	for _, uri := range []string{one, "registry://" + host + "/acme/p:latest"} {
		m, err := (&Puller{Client: c, Store: store}).Pull(ctx, uri)
		if err != nil {
			return err
		}
		if m.Unstored != nil {
			return m.Unstored
		}
	}
	return nil
}

func pushToFolder(dir string, i int) error {
	h, err := NewRegistry(dir, quietLog())
	if err != nil {
		return err
	}
	module, config := killModule(i%killModules), []byte("{}")
	for _, blob := range [][]byte{config, module} {
		if w := ask(h, http.MethodPost, "/v2/p/blobs/uploads/?digest="+digestOf(blob), string(blob)); w.Code != http.StatusCreated {
			return fmt.Errorf("blob: %d %s", w.Code, w.Body)
		}
	}
	manifest := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		mediaConfig, digestOf(config), mediaModule, digestOf(module), len(module))
	if w := ask(h, http.MethodPut, "/v2/p/manifests/v"+strconv.Itoa(i%killModules), manifest); w.Code != http.StatusCreated {
		return fmt.Errorf("manifest: %d %s", w.Code, w.Body)
	}
	return nil
}

// checkStore says that everything in the store is whole, that nothing else is,
// and that pulls work.
func checkStore(t *testing.T, c *Client, host, dir string) {
	t.Helper()
	known := map[string]bool{}
	for i := range killModules {
		known[digestOf(killModule(i))] = true
	}
	store, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := store.List()
	if err != nil {
		t.Error(err)
	}
	for _, m := range list {
		if !known["sha256:"+m.SHA256] {
			t.Errorf("%s has the digest %s, which nobody has pushed", m.Reference, m.SHA256)
		}
	}
	for _, kind := range []string{"modules", "manifests"} {
		for _, file := range kept(t, store, kind) {
			if _, err := store.checked(kind, "sha256:"+filepath.Base(file)); err != nil {
				t.Error(err)
			}
		}
	}
	if left := kept(t, store, "tmp"); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
	if n := len(kept(t, store, "modules")); n > killModules {
		t.Errorf("%d modules are kept of %d", n, killModules)
	}
	for i := range killModules {
		m, err := (&Puller{Client: c, Store: store}).Pull(t.Context(), fmt.Sprintf("%s/acme/p:v%d", host, i))
		wantModule(t, m, err, killModule(i))
	}
	m, err := (&Puller{Client: c, Store: store}).Pull(t.Context(), host+"/acme/p:latest")
	if err != nil || !known["sha256:"+m.SHA256] || m.Stale != nil {
		t.Errorf("latest: %v, %v", m, err)
	}
}

// checkRegistry says that every tag of a registry leads to a whole module.
func checkRegistry(t *testing.T, dir string) {
	t.Helper()
	h := newTestRegistry(t, dir)
	for i := range killModules {
		w := ask(h, http.MethodGet, "/v2/p/manifests/v"+strconv.Itoa(i), "")
		if w.Code == http.StatusNotFound {
			continue // not yet
		}
		if w.Code != http.StatusOK {
			t.Fatalf("v%d: %d %s", i, w.Code, w.Body)
		}
		manifest, _, err := parseManifest(w.Body.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		blob := ask(h, http.MethodGet, "/v2/p/blobs/"+manifest.Layers[0].Digest, "")
		if !bytes.Equal(blob.Body.Bytes(), killModule(i)) {
			t.Errorf("v%d: %d, %d bytes, want the module", i, blob.Code, blob.Body.Len())
		}
	}
	for _, pattern := range []string{"blobs/upload-*", "blobs/sha256/.new-*", "repositories/p/*/.new-*"} {
		if left, err := filepath.Glob(filepath.Join(dir, pattern)); len(left) != 0 || err != nil {
			t.Errorf("left over: %v, %v", left, err)
		}
	}
}
