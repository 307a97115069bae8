package cluster

import (
	"errors"
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
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		name := filepath.Join(dir, "bin", "devcluster")
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			return name, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New(`no bin/devcluster in this folder or above: build it with "make bin/devcluster", or set ` + BinaryVariable)
		}
	}
}
