# GUEST is what also compiles to a Wasm policy: a command, or with the tag
# wapc a reactor.
GUEST = ./sdk/... ./library/... ./examples/...
GUESTGO = GOOS=wasip1 GOARCH=wasm go

help: ## say what make can do
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## /{printf "%-12s %s\n", $$1, $$2}' Makefile

build: ## build bin/warder, one static binary
	CGO_ENABLED=0 go build -trimpath -o bin/warder ./cmd/warder

image: ## build the OCI image into bin/image, without Docker; IMAGE=--help lists flags
	go -C tools run ./image $(IMAGE)

test: ## run every test; the last line is the conformance score
	go vet ./...
	$(GUESTGO) vet $(GUEST) && $(GUESTGO) vet -tags wapc $(GUEST)
	go test -timeout 15m -skip '^TestConformance$$' ./...
	@.ci/conformance

lint: ## run golangci-lint, built from tools/go.mod, over host and guest code
	go tool -modfile=tools/go.mod golangci-lint run ./...
	@for tag in wasi wapc; do GOOS=wasip1 GOARCH=wasm \
	$$(GOOS= GOARCH= go tool -modfile=tools/go.mod -n golangci-lint) run --tests=false --build-tags $$tag $(GUEST) || exit 1; done

bench: ## measure warder; the figures go to bench/result.json
	go run ./bench -out bench/result.json

e2e: ## tests on a cluster: there are none yet
	@echo 'e2e: the end-to-end tests on a cluster come with the control plane; until then "make test" runs all there is' >&2; exit 1

demo: ## show warder at work, without a cluster
	go run ./cmd/warder demo

conformance: ## replay Kubewarden's own policy tests; the last line is the score
	@.ci/conformance

fuzz: ## run every fuzz target for FUZZTIME (30s) and count the executions
	@FUZZTIME=$(FUZZTIME) .ci/fuzz

generate: ## write generated files anew, and the example module that cmd/warder embeds
	go generate ./...
	go generate ./cmd/warder

cover: ## say how much of the code the tests run
	@mkdir -p bin; go test -timeout 15m -coverpkg=./... -coverprofile=bin/cover.out ./...
	go tool cover -func=bin/cover.out | tail -n 1

.PHONY: help build image test lint bench e2e demo conformance fuzz generate cover
