// A policy that does what the object's field "do" says.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/warder-dev/warder/sdk"
)

func main() { sdk.Main(sdk.Define(judge)) }

type settings struct{}

// Where results go that must not be optimised away.
var (
	sink  int
	heaps [][]byte
)

func judge(ctx context.Context, _ *settings, req *sdk.Request) (sdk.Verdict, error) {
	switch do := sdk.View(req.Object).Get("do").String(); do {
	case "ok":
		return sdk.Accept(), nil
	case "loop":
		for {
		}
	case "loop-call":
		for {
			sink += fibonacci(3)
		}
	case "recurse":
		sink = recurse(1)
	case "fibonacci":
		sink = fibonacci(90)
	case "allocate":
		for {
			heaps = append(heaps, make([]byte, 1<<20))
		}
	case "panic":
		panic("I do not like " + req.UID)
	case "error":
		return sdk.Verdict{}, fmt.Errorf("no opinion on %s", req.UID)
	case "exit-3":
		fmt.Fprintln(os.Stderr, "I am leaving")
		os.Exit(3)
	case "exit-0":
		os.Exit(0)
	case "garbage":
		return sdk.Mutate(json.RawMessage(`{]`)), nil
	case "trailing":
		return sdk.Mutate(json.RawMessage(`{}} {"accepted":true`)), nil
	case "types":
		return sdk.Mutate(json.RawMessage(`{},"warnings":7`)), nil
	case "deep":
		return sdk.Mutate(json.RawMessage(strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000))), nil
	case "huge-output":
		return sdk.Reject(strings.Repeat("x", 2<<20)), nil
	case "huge-stderr":
		for range 100 {
			fmt.Fprint(os.Stderr, strings.Repeat("y", 64<<10))
		}
		os.Exit(1)
	case "host-calls":
		for {
			if _, err := sdk.LookupHost(ctx, "example.org"); err != nil {
				sink++
			}
		}
	case "sleep":
		time.Sleep(time.Hour)
	default:
		return sdk.Rejectf("cannot do %q", do), nil
	}
	return sdk.Accept(), nil
}

func recurse(n int) int { return recurse(n+1) + n }

func fibonacci(n int) int {
	if n < 2 {
		return n
	}
	return fibonacci(n-1) + fibonacci(n-2)
}
