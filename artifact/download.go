package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/warder-dev/warder/wasm"
)

// MaxModuleBytes bounds a module. The largest policy that is known, CEL with all
// of its libraries, has 28 MB.
const MaxModuleBytes = 256 << 20

// download reads a module from a URL. Redirects are followed, each host the way
// that the sources say.
func (c *Client) download(ctx context.Context, address string, progress func(done, total int64)) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, unwrapURL(err)
	}
	req.Header.Set("User-Agent", c.agent)
	resp, err := (&http.Client{Transport: c.hosts}).Do(req)
	if err != nil {
		return nil, classify(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, wrapStatus(resp.StatusCode, fmt.Errorf("GET %s: %s", resp.Request.URL.Redacted(), resp.Status))
	}
	if resp.ContentLength > MaxModuleBytes {
		return nil, fmt.Errorf("GET %s: %w", resp.Request.URL.Redacted(), tooLarge(resp.ContentLength))
	}
	data, err := readModule(resp.Body, resp.ContentLength, progress)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", resp.Request.URL.Redacted(), classify(err))
	}
	return data, nil
}

// readModule reads to the end what is not too large. total is -1 if it is not
// known.
func readModule(r io.Reader, total int64, progress func(done, total int64)) ([]byte, error) {
	if progress != nil {
		progress(0, total)
		r = &counted{r, 0, total, progress}
	}
	data, err := io.ReadAll(io.LimitReader(r, MaxModuleBytes+1))
	if err == nil && len(data) > MaxModuleBytes {
		err = tooLarge(int64(len(data)))
	}
	return data, err
}

func tooLarge(size int64) error {
	return fmt.Errorf("it has %d bytes or more; a module has at most %d", size, MaxModuleBytes)
}

// ReadFile reads a module from a file, which is checked as one from elsewhere.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was read alone
	data, err := readModule(f, -1, nil)
	if err == nil {
		err = checkModule(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// checkModule refuses what is no WebAssembly: an error page most of the time.
func checkModule(data []byte) error {
	if len(data) < len(wasm.Header) || string(data[:4]) != wasm.Header[:4] {
		return errors.New("invalid wasm file: it does not start with \\0asm")
	}
	return nil
}
