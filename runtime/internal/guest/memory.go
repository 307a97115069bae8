package guest

import (
	"bytes"
	"errors"
)

// errGrown says that a memory is no longer of the size of its snapshot, or has
// content where the snapshot has none: the instance is replaced by a new one.
var errGrown = errors.New("the memory has grown past its snapshot")

// zeros is compared with, never written to.
var zeros [4096]byte

func isZero(text []byte) bool {
	for len(text) > len(zeros) {
		if !bytes.Equal(text[:len(zeros)], zeros[:]) {
			return false
		}
		text = text[len(zeros):]
	}
	return bytes.Equal(text, zeros[:len(text)])
}
