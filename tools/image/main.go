// Command image builds warder's OCI image, without Docker and from nothing but
// the source: "make image". The same source, Go and flags make the same bytes
// on every machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// repository is where images of a release are.
const repository = "ghcr.io/warder-dev/warder"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], streams{os.Stdout, os.Stderr})
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1) //nolint:forbidigo // a command's main decides on the exit code
	}
}

// streams is where run writes: names of images to out, what it does to log.
type streams struct{ out, log io.Writer }

// options are the flags.
type options struct {
	source   string
	out      string
	name     string
	platform string
	buildVCS string
	tarball  string
	push     string
}

func (o *options) flags(log io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("image", flag.ContinueOnError)
	f.SetOutput(log)
	f.StringVar(&o.source, "source", "..", "`folder` of warder's go.mod")
	f.StringVar(&o.out, "out", "", "`folder` of the OCI layout, made anew each time (default: bin/image in the source)")
	f.StringVar(&o.name, "name", "", "name of the image, `REGISTRY/NAME:TAG` (default: "+repository+":VERSION)")
	f.StringVar(&o.platform, "platform", "linux/amd64,linux/arm64", "`platforms`, separated by commas")
	f.StringVar(&o.buildVCS, "buildvcs", "auto", "whether the binary says its commit: auto, true or false, as for go build")
	f.StringVar(&o.tarball, "tarball", "", "`file` for docker load and kind load image-archive, too; of one platform")
	f.StringVar(&o.push, "push", "", "`REGISTRY/NAME:TAG` to push to, too, with the credentials of docker login")
	return f
}

// validate finds what cannot work before minutes of building, completes what
// was left out, and returns the platforms.
func (o *options) validate() ([]v1.Platform, error) {
	if o.out == "" {
		o.out = filepath.Join(o.source, "bin", "image")
	}
	if err := replaceable(o.out); err != nil {
		return nil, err
	}
	if _, err := o.tag("devel"); err != nil {
		return nil, err
	}
	if o.push != "" {
		if _, err := parseTag("--push", o.push); err != nil {
			return nil, err
		}
	}
	platforms, err := readPlatforms(o.platform)
	if err == nil && o.tarball != "" && len(platforms) > 1 {
		return nil, errors.New("--tarball: such a file holds one platform; add --platform linux/amd64 or --platform linux/arm64")
	}
	return platforms, err
}

// readPlatforms reads --platform. The order in which they are named changes
// nothing in the image.
func readPlatforms(list string) ([]v1.Platform, error) {
	asked := map[string]bool{}
	for p := range strings.SplitSeq(list, ",") {
		switch p = strings.TrimSpace(p); p {
		case "linux/amd64", "linux/arm64":
			asked[p] = true
		default:
			return nil, fmt.Errorf("--platform %q: want linux/amd64, linux/arm64 or both with a comma between", p)
		}
	}
	var found []v1.Platform
	for _, arch := range []string{"amd64", "arm64"} {
		if asked["linux/"+arch] {
			found = append(found, v1.Platform{OS: "linux", Architecture: arch})
		}
	}
	return found, nil
}

func run(ctx context.Context, args []string, stream streams) error {
	var o options
	f := o.flags(stream.log)
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("want flags only, have %q", f.Args())
	}
	platforms, err := o.validate()
	if err != nil {
		return err
	}
	binaries, err := o.build(ctx, platforms, stream.log)
	if err != nil {
		return err
	}
	made, err := assemble(binaries)
	if err != nil {
		return err
	}
	tag, err := o.tag(binaries[0].version())
	if err != nil {
		return err
	}
	if err := made.write(o.out, tag.String()); err != nil {
		return err
	}
	digest, err := made.index.Digest()
	if err != nil {
		return err
	}
	fmt.Fprintf(stream.out, "%s@%s\n", tag, digest)

	if o.tarball != "" {
		if err := tarball.WriteToFile(o.tarball, tag, made.images[0].image); err != nil {
			return fmt.Errorf("--tarball: %w", err)
		}
	}
	if o.push == "" {
		return nil
	}
	to, err := parseTag("--push", o.push)
	if err != nil {
		return err
	}
	if err := remote.WriteIndex(to, made.index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("push %s: %w", to, err)
	}
	fmt.Fprintf(stream.out, "%s@%s\n", to, digest)
	return nil
}

// build builds warder for each platform.
func (o *options) build(ctx context.Context, platforms []v1.Platform, log io.Writer) ([]*binary, error) {
	dir, err := os.MkdirTemp("", "warder-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // what stays in the temporary folder harms nobody
	var binaries []*binary
	for _, p := range platforms {
		b, err := build(ctx, o, p, filepath.Join(dir, p.Architecture))
		if err != nil {
			return nil, fmt.Errorf("build for %s: %w", p, err)
		}
		fmt.Fprintf(log, "%s: warder %s, %s, %d MiB\n", p, b.version(), b.info.GoVersion, len(b.content)>>20)
		binaries = append(binaries, b)
	}
	switch b := binaries[0]; {
	case b.setting("vcs.revision") == "":
		fmt.Fprintln(log, "the commit is not known (go build looks for a folder .git): the image names none")
	case b.setting("vcs.modified") == "true":
		fmt.Fprintln(log, "the source has changes that are not committed: nobody can build this image from the commit")
	}
	return binaries, nil
}

// tag is the name of the image of a version.
func (o *options) tag(version string) (name.Tag, error) {
	if o.name != "" {
		return parseTag("--name", o.name)
	}
	// A tag has no "+", which Go's versions have.
	return parseTag("version "+version, repository+":"+strings.ReplaceAll(version, "+", "-"))
}

func parseTag(what, text string) (name.Tag, error) {
	tag, err := name.NewTag(text, name.StrictValidation)
	if err != nil {
		return name.Tag{}, fmt.Errorf("%s: want REGISTRY/NAME:TAG: %w", what, err)
	}
	return tag, nil
}

// timestamp is the time that everything in the image has: SOURCE_DATE_EPOCH
// (https://reproducible-builds.org/specs/source-date-epoch), else the
// commit's, else 1970.
func timestamp(b *binary) (time.Time, error) {
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil || seconds < 0 || seconds > maxSeconds {
			return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q: want seconds since 1970", epoch)
		}
		return time.Unix(seconds, 0).UTC(), nil
	}
	if t := b.setting("vcs.time"); t != "" {
		return time.Parse(time.RFC3339, t)
	}
	return time.Unix(0, 0).UTC(), nil
}

// maxSeconds is the end of the year 9999: RFC 3339 has four digits for a year.
const maxSeconds = 253402300799
