package e2e
import (
	_ "github.com/warder-dev/warder/capability"
)
