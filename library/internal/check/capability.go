package check

import (
	"fmt"
	"strings"
)

// Capability returns the name of a Linux capability as the kernel's manual has
// it, without CAP_. Runtimes take it in any form.
func Capability(name string) string {
	return strings.TrimPrefix(strings.ToUpper(name), "CAP_")
}

// Capabilities returns the names of a setting in one form. The error names the
// place of one that is empty.
func Capabilities(setting string, names []string) ([]string, error) {
	plain := make([]string, len(names))
	for i, name := range names {
		if plain[i] = Capability(name); plain[i] == "" {
			return nil, fmt.Errorf("%s[%d]: want the name of a capability, such as NET_ADMIN, have %q", setting, i, name)
		}
	}
	return plain, nil
}
