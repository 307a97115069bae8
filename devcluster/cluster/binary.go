package cluster

import (
	"fmt"
	"os"
	"path/filepath"
)

// BinaryVariable names the environment variable that says where the devcluster
// binary is.
const BinaryVariable = "DEVCLUSTER_BINARY"

// FindBinary returns the devcluster binary: what BinaryVariable says, or else
// bin/devcluster of the first folder above the current one that has it.
func FindBinary() (string, error) {
	if name := os.Getenv(BinaryVariable); name != "" {
		return name, nil
	}
	found, err := Find("devcluster")
	if err != nil {
		return "", fmt.Errorf("%w, or set %s", err, BinaryVariable)
	}
	return found, nil
}

// Find returns the binary of that name in the folder bin of the current folder,
// or of the first one above that has it.
func Find(binary string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		name := filepath.Join(dir, "bin", binary)
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			return name, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf(`no bin/%s in this folder or above: build it with "make build devcluster"`, binary)
		}
	}
}
