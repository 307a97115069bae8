// Command bench measures warder from outside: whole HTTPS round trips to a
// server in another process, the time that a server takes to start, and the
// memory that it takes.
//
//	go run ./bench -out bench/result.json
//
// What is compared is measured in turn, in several rounds, and a ratio is the
// median of the ratios of the rounds: a machine that gets slower for a while
// makes both sides slower. It exits with 0 whatever the figures are; an answer
// with the wrong verdict, or none, is an error.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if config := os.Getenv(serverEnv); config != "" {
		os.Exit(serverMain(config))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, opts, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
}

// options say what is measured, and for how long.
type options struct {
	out      string        // the file of the result as JSON, "" for none
	protocol protocol      // that the client speaks
	time     time.Duration // of one measurement of one row in one round
	rounds   int
	starts   []int // numbers of policies to start with
	warm     int   // starts with a warm cache, of which the median counts
	profile  string
	only     []string // names of rows; none for all
}

// parseFlags reads the command line. The error has been written to stderr when
// it is about the flags themselves.
func parseFlags(args []string, stderr io.Writer) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var proto, starts, only string
	flags.StringVar(&o.out, "out", "", "write the figures as JSON to this `file`")
	flags.StringVar(&proto, "proto", string(http1), "the protocol: h1 is HTTP/1.1 with keep-alive, as the API server speaks it, or h2")
	flags.DurationVar(&o.time, "time", 500*time.Millisecond, "how long a row is measured in each round")
	flags.IntVar(&o.rounds, "rounds", 9, "how many rounds")
	flags.StringVar(&starts, "start", "1,30", "the numbers of policies that a server is started with; empty for none")
	flags.IntVar(&o.warm, "warm", 5, "how many starts with a warm cache there are, of which the median counts")
	flags.StringVar(&o.profile, "profile", "", "after the rounds, write a CPU profile of the server for each row to this `folder`")
	flags.StringVar(&only, "rows", "", "measure only these rows, by name, with commas between them")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("argument %q: want flags only", flags.Arg(0))
	}
	var errs []error
	if o.protocol = protocol(proto); o.protocol != http1 && o.protocol != http2 {
		errs = append(errs, fmt.Errorf("-proto: want %s or %s, have %q", http1, http2, proto))
	}
	if o.time <= 0 || o.rounds <= 0 || o.warm <= 0 {
		errs = append(errs, fmt.Errorf("-time %s, -rounds %d, -warm %d: want more than 0 of each", o.time, o.rounds, o.warm))
	}
	for _, text := range fields(starts) {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			errs = append(errs, fmt.Errorf("-start: want numbers from 1 to 1000, have %q", text))
		}
		o.starts = append(o.starts, n)
	}
	for _, name := range fields(only) {
		if !slices.ContainsFunc(allRows(), func(s subject) bool { return s.name == name }) {
			errs = append(errs, fmt.Errorf("-rows: there is no row %q", name))
		}
		o.only = append(o.only, name)
	}
	return o, errors.Join(errs...)
}

func fields(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// run measures everything, prints it and writes it down.
func run(ctx context.Context, opts options, stdout io.Writer) error {
	dir, err := os.MkdirTemp("", "warder-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left is in the temporary folder
	res := &result{Machine: describeMachine(), Protocol: opts.protocol, Rounds: opts.rounds, TimeMS: milliseconds(opts.time)}
	res.printHead(stdout)
	b, err := newBench(dir, opts)
	if err != nil {
		return err
	}
	if err := b.measureRows(ctx, res); err != nil {
		return err
	}
	res.printRows(stdout)
	if err := b.measureJudging(ctx, res); err != nil {
		return err
	}
	res.printJudging(stdout)
	if err := b.measureStarts(ctx, res); err != nil {
		return err
	}
	res.Machine.LoadAfter = loadAverage()
	res.Targets = res.targets()
	res.printRest(stdout)
	if opts.out == "" {
		return nil
	}
	text, err := json.MarshalIndent(res, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(opts.out, append(text, '\n'), 0o644)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
