# GUEST is what also compiles to a Wasm policy: a command, or with the tag
# wapc a reactor.
GUEST = ./sdk/... ./library/... ./examples/...
GUESTGO = GOOS=wasip1 GOARCH=wasm go

help: ## say what make can do
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## /{printf "%-12s %s\n", $$1, $$2}' Makefile

build: ## build bin/warder, one static binary
	CGO_ENABLED=0 go build -trimpath -o bin/warder ./cmd/warder

policies: ## build the built-in policies as WebAssembly modules into bin/policies, ready to push
	go run ./cmd/warder build-policies -o bin/policies

image: ## build the OCI image into bin/image, without Docker; IMAGE=--help lists flags
	go -C tools run ./image $(IMAGE)

test: ## run every test, e2e too; the last line is the conformance score
	go vet ./...
	$(GUESTGO) vet $(GUEST) && $(GUESTGO) vet -tags wapc $(GUEST)
	go test -timeout 15m -skip '^TestConformance$$' ./...
	go -C charts/helm vet ./... && go -C charts/helm test .
	$(MAKE) e2e
	@.ci/conformance

lint: ## run golangci-lint, built from tools/go.mod, over host and guest code
	go tool -modfile=tools/go.mod golangci-lint run ./...
	@for tag in wasi wapc; do GOOS=wasip1 GOARCH=wasm \
	$$(GOOS= GOARCH= go tool -modfile=tools/go.mod -n golangci-lint) run --tests=false --build-tags $$tag $(GUEST) || exit 1; done

bench: ## measure warder; the figures go to bench/result.json
	go run ./bench -out bench/result.json

# Two clusters at a time (E2E=-parallel=2) take 14 minutes and not 25, and wait
# longer for one another than some tests like.
E2E = -parallel=1

e2e: build devcluster ## end-to-end tests on a real API server (first build: 5 to 10 minutes)
	go -C devcluster test -count=1 -timeout 45m $(E2E) ./...
	go -C charts/helm test -count=1 -timeout 20m ./e2e

bench-cluster: build devcluster ## pods a second through a real API server: no policy, 200 in a bundle, 200 by themselves
	WARDER_E2E_SCALE=1 go -C devcluster test -count=1 -timeout 20m -run '^TestTwoHundredPolicies$$' -v ./e2e

# As "go -C devcluster run ." builds it: another value of CGO_ENABLED, or
# -trimpath, would have all of Kubernetes compiled once more.
devcluster: ## build bin/devcluster: a Kubernetes control plane in one binary
	go -C devcluster build -ldflags=-w -o ../bin/devcluster .

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

.PHONY: help build policies image test lint bench bench-cluster e2e devcluster demo conformance fuzz generate cover
