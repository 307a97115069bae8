// Command warder is the policy engine: policy server, demo and, with issues to
// come, everything else, in one binary.
package main

import "os"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }
