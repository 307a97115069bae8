package main

import (
	"fmt"
	"io"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// result is what is written down.
type result struct {
	Machine  machine  `json:"machine"`
	Protocol protocol `json:"protocol"`
	Rounds   int      `json:"rounds"`
	TimeMS   float64  `json:"time_ms"` // of one row in one round
	Rows     []row    `json:"rows"`
	Start    []start  `json:"start"`
	// Judging is what policies need without a server around them.
	Judging []judging `json:"judging"`
	// RSS is the memory of the server with the most policies after load,
	// NativeRSS that of the server with one built-in after all rounds. In MiB.
	RSS         float64  `json:"rss_mib"`
	RSSPolicies int      `json:"rss_policies"`
	NativeRSS   float64  `json:"native_rss_mib"`
	Targets     []target `json:"targets"`
}

// machine is where it was measured. The server and the client share it.
type machine struct {
	CPUs       int    `json:"cpus"`
	GOMAXPROCS int    `json:"gomaxprocs"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
	LoadBefore string `json:"load_before"` // averages of 1, 5 and 15 minutes
	LoadAfter  string `json:"load_after"`
}

func describeMachine() machine {
	return machine{
		CPUs: goruntime.NumCPU(), GOMAXPROCS: goruntime.GOMAXPROCS(0), Go: goruntime.Version(),
		Platform: goruntime.GOOS + "/" + goruntime.GOARCH, LoadBefore: loadAverage(),
	}
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// figures are what is measured of a row; or how many times those of another
// they are.
type figures struct {
	RPS    float64 `json:"rps"`
	P50    float64 `json:"p50_us"`
	P99    float64 `json:"p99_us"`
	CPU    float64 `json:"cpu_us"` // of the server, for each request
	Allocs float64 `json:"allocs"` // of the server, for each request
	Bytes  float64 `json:"bytes"`  // of the server, for each request
}

// each calls f with every figure.
func (f *figures) each(do func(*float64)) {
	for _, p := range []*float64{&f.RPS, &f.P50, &f.P99, &f.CPU, &f.Allocs, &f.Bytes} {
		do(p)
	}
}

func (f *figures) list() (all []float64) {
	f.each(func(p *float64) { all = append(all, *p) })
	return all
}

// ratio returns how many times those of other the figures are; 0 where other
// has none: a clock that ticks may not have moved in a very short time.
func (f figures) ratio(other figures) figures {
	than := other.list()
	i := 0
	f.each(func(p *float64) {
		if than[i] == 0 {
			*p = 0
		} else {
			*p /= than[i]
		}
		i++
	})
	return f
}

// median returns the median of each figure; of an even number the upper one.
func median(all []figures) (m figures) {
	i := 0
	m.each(func(p *float64) {
		var values []float64
		for _, f := range all {
			values = append(values, f.list()[i])
		}
		slices.Sort(values)
		*p = values[len(values)/2]
		i++
	})
	return m
}

// row is one row of the table.
type row struct {
	Name        string `json:"name"`
	Concurrency int    `json:"concurrency"`
	Requests    int    `json:"requests"` // measured, in all rounds
	figures
	ToAllowAll *figures `json:"to_allow_all,omitempty"` // ratios
	ToFresh    *figures `json:"to_fresh,omitempty"`     // ratios
}

// start is how long a server takes to start.
type start struct {
	Policies int     `json:"policies"`
	Cache    string  `json:"cache"`
	MS       float64 `json:"ms"`
	ToCold   float64 `json:"to_cold"` // ratio
}

// target is a figure that was promised.
type target struct {
	Name   string  `json:"name"`
	Limit  float64 `json:"limit"`
	Have   float64 `json:"have"`
	Met    bool    `json:"met"`
	AtMost bool    `json:"at_most"` // Limit is the most; else it is the least
}

// targets compares what was measured with what was promised.
func (r *result) targets() []target {
	var all []target
	add := func(t target) {
		t.Met = t.Have >= t.Limit
		if t.AtMost {
			t.Met = t.Have <= t.Limit
		}
		all = append(all, t)
	}
	for _, w := range r.Rows {
		at := fmt.Sprintf(", %d at once", w.Concurrency)
		switch {
		case w.Name == nativeRow && w.ToAllowAll != nil:
			add(target{Name: "native to allow-all, requests a second" + at, Limit: 0.85, Have: w.ToAllowAll.RPS})
		case w.Name == wasiRow && w.ToFresh != nil:
			add(target{Name: "WASI snapshot to fresh, median latency" + at, Limit: 1.0 / 5, Have: w.ToFresh.P50, AtMost: true})
		case w.Name == wapcRow && w.ToFresh != nil:
			add(target{Name: "waPC snapshot to fresh, median latency" + at, Limit: 1.0 / 2, Have: w.ToFresh.P50, AtMost: true})
		}
	}
	for _, s := range r.Start {
		if s.Cache == warm && s.Policies > 1 {
			add(target{Name: fmt.Sprintf("warm start to cold, %d policies", s.Policies), Limit: 1.0 / 10, Have: s.ToCold, AtMost: true})
		}
	}
	return all
}

func (r *result) printHead(w io.Writer) {
	m := r.Machine
	fmt.Fprintf(w, "%d CPUs, GOMAXPROCS %d, %s, %s, load average %s; client and server share them\n",
		m.CPUs, m.GOMAXPROCS, m.Go, m.Platform, m.LoadBefore)
	fmt.Fprintf(w, "HTTPS by %s (-proto; the API server's webhook client asks for HTTP/1.1 only: h1), a Pod of %d bytes\n", r.Protocol, len(podReview))
	fmt.Fprintf(w, "medians of %d rounds of %.0f ms a row; x is the median of the rounds' ratios to allow-all\n\n", r.Rounds, r.TimeMS)
}

func (r *result) printRows(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "row\tat once\trps\tx\tp50 µs\tx\tp99 µs\tx\tserver CPU µs\tx\tallocs\tx\tbytes\tx\tp50 to fresh\t")
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%d\t", row.Name, row.Concurrency)
		values := row.list()
		for i, value := range values {
			ratio := "-"
			if row.ToAllowAll != nil {
				ratio = fmt.Sprintf("%.2f", row.ToAllowAll.list()[i])
			}
			fmt.Fprintf(t, "%.0f\t%s\t", value, ratio)
		}
		if row.ToFresh != nil {
			fmt.Fprintf(t, "%.3f\t", row.ToFresh.P50)
		} else {
			fmt.Fprint(t, "\t")
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush() // as with Fprintln
	fmt.Fprintln(w)
}

// printRest prints what comes after the rows.
func (r *result) printRest(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	if len(r.Start) > 0 {
		fmt.Fprintln(t, "start with policies\tcache\tms\tx cold\t")
	}
	for _, s := range r.Start {
		fmt.Fprintf(t, "%d\t%s\t%.0f\t%.3f\t\n", s.Policies, s.Cache, s.MS, s.ToCold)
	}
	_ = t.Flush()
	fmt.Fprintln(w)
	if r.RSS > 0 {
		fmt.Fprintf(w, "memory (RSS) with %d WASI policies after load: %.0f MiB\n", r.RSSPolicies, r.RSS)
	}
	if r.NativeRSS > 0 {
		fmt.Fprintf(w, "memory (RSS) with one built-in after load: %.0f MiB\n", r.NativeRSS)
	}
	fmt.Fprintf(w, "load average at the end: %s\n\n", r.Machine.LoadAfter)
	for _, t := range r.Targets {
		verdict, bound := "MISSED", "at least"
		if t.Met {
			verdict = "met"
		}
		if t.AtMost {
			bound = "at most"
		}
		fmt.Fprintf(w, "%-6s  %s: %.3f, want %s %.3f\n", verdict, t.Name, t.Have, bound, t.Limit)
	}
}
