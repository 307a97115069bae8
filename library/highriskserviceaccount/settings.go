package highriskserviceaccount

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of high-risk-service-account.
type Settings struct {
	// BlockRules are what no service account of a pod may do. At least one must
	// be given.
	BlockRules []Rule `json:"blockRules"`
}

// Rule is permissions: each verb on each resource of each group.
type Rule struct {
	// Namespace is where; by default it is the whole cluster.
	Namespace string `json:"namespace"`
	// APIGroups are names of groups, "" for the core group, "*" for all.
	APIGroups []string `json:"apiGroups"`
	// Resources are plurals, "*" for all.
	Resources []string `json:"resources"`
	// Verbs are create, delete, get, list, proxy, update, watch, patch,
	// deletecollection, or "*" for all.
	Verbs []string `json:"verbs"`
}

// Validate reports everything that is wrong.
func (s *Settings) Validate() error {
	if len(s.BlockRules) == 0 {
		return errors.New("block_rules cannot be empty")
	}
	verbs := []string{"create", "delete", "get", "list", "proxy", "update", "watch", "patch", "deletecollection", "*"}
	var errs []error
	for i, r := range s.BlockRules {
		if len(r.APIGroups) == 0 || len(r.Resources) == 0 || len(r.Verbs) == 0 {
			errs = append(errs, fmt.Errorf("Invalid rule: Rule must specify apiGroups, resources, and verbs: blockRules[%d]", i)) //nolint:staticcheck // the text is upstream's, and users see it
		}
		for j, verb := range r.Verbs {
			if slices.Contains(verbs, verb) {
				continue
			}
			hint := "known are " + strings.Join(verbs, ", ")
			if near := sdk.Nearest(verb, verbs); near != "" {
				hint = "did you mean " + near + "?"
			}
			errs = append(errs, fmt.Errorf("blockRules[%d].verbs[%d]: %q is none; %s", i, j, verb, hint))
		}
	}
	return errors.Join(errs...)
}

// permissions returns what the rules are about, in the order in which it is
// asked for.
func (s *Settings) permissions() (all []sdk.ResourceAttributes) {
	for _, r := range s.BlockRules {
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				for _, verb := range r.Verbs {
					all = append(all, sdk.ResourceAttributes{Namespace: r.Namespace, Verb: verb, Group: group, Resource: resource})
				}
			}
		}
	}
	return all
}
