//go:build !wasip1

package sdk

import "os"

func keepForReactor(Policy) bool { return false }

func readInput(p []byte) (int, error) { return os.Stdin.Read(p) }

func commandHost() Host { return nil }
