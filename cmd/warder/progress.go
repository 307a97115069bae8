package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// speech is for what a command notices on its way.
func speech(cmd *cobra.Command) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{} // somebody is reading it now
		}
		return a
	}}))
}

// progress shows how far a transfer is: a bar on a terminal.
type progress struct {
	w     io.Writer
	verb  string
	width int // of the terminal; 0: there is none

	mu  sync.Mutex
	bar *progressbar.ProgressBar
}

func newProgress(w io.Writer, verb string) *progress {
	p := &progress{w: w, verb: verb}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		p.width = 80
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			p.width = width
		}
	}
	return p
}

// show is artifact.Puller's Progress: where there is no terminal it says one line
// at the start.
func (p *progress) show(reference string, done, total int64) {
	switch {
	case p.width > 0:
		p.draw(done, total)
	case done == 0 && total < 0:
		fmt.Fprintf(p.w, "%s %s\n", p.verb, reference)
	case done == 0:
		fmt.Fprintf(p.w, "%s %s, %s\n", p.verb, reference, bytesText(total))
	}
}

// draw draws the bar, if there is a terminal.
func (p *progress) draw(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.width == 0:
	case p.bar == nil:
		p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription(p.verb),
			progressbar.OptionShowBytes(true), progressbar.OptionShowCount(), progressbar.OptionSetWidth(max(10, min(40, p.width-60))), progressbar.OptionUseIECUnits(true),
			progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(65*time.Millisecond))
	default:
		_ = p.bar.Set64(done) // a bar that cannot be drawn is not missed
	}
}

// end takes the bar away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Exit()
		fmt.Fprint(p.w, "\r\x1b[K")
		p.bar = nil
	}
}
