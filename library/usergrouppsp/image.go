package usergrouppsp

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// user is what an image is configured with; nil is what it does not say, or
// what no rule asks for.
type user struct{ uid, gid *int64 }

// asksImage reports whether the configuration of images matters.
func (s *Settings) asksImage() bool {
	return bool(s.ValidateContainerImageConfiguration) && (s.RunAsUser.Rule != runAsAny || s.RunAsGroup.Rule != runAsAny)
}

// imageUser asks the host for the user that an image is configured with.
// Images for Windows have none that is a number.
func (s *Settings) imageUser(ctx context.Context, image sdk.Value) (u user, refused *sdk.Verdict, err error) {
	answer, err := sdk.ManifestAndConfig(ctx, image.String())
	if err != nil {
		return user{}, nil, fmt.Errorf("%s: %q: %w", image.Path(), image.String(), err)
	}
	var config struct {
		OS     string `json:"os"`
		Config struct{ User string }
	}
	if err := json.Unmarshal(answer.Config, &config); err != nil {
		return user{}, nil, fmt.Errorf("%s: %q: image configuration: %w", image.Path(), image.String(), err)
	}
	if config.OS == "windows" || config.Config.User == "" {
		return user{}, nil, nil
	}
	id, group, grouped := strings.Cut(config.Config.User, ":")
	if s.RunAsUser.Rule != runAsAny {
		if u.uid, err = number(id); err != nil {
			return user{}, refusal(fmt.Sprintf("Invalid user ID in the container image configuration: %q", id), where(image, "user")), nil
		}
	}
	if s.RunAsGroup.Rule != runAsAny && grouped {
		if u.gid, err = number(group); err != nil {
			return user{}, refusal(fmt.Sprintf("Invalid group ID in the container image configuration: %q", group), where(image, "group")), nil
		}
	}
	return u, nil, nil
}

func where(image sdk.Value, what string) string {
	return fmt.Sprintf("%s: the %s of %q is not a number, so that nobody can tell which it is", image.Path(), what, image.String())
}

func number(text string) (*int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	return &n, err
}
