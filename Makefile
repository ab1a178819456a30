# Thin verbs: each is what a person would type. `make up` and `make test` are all a newcomer needs.
SHELL := /bin/bash -o pipefail
export INGOT_CACHE ?= /var/cache/ingot
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOFLAGS_STATIC := -trimpath -ldflags "-s -w"

.PHONY: up down build examples helpers packages quick test lint fmt bench uninstall

up: build
	bin/ingot up --detach --cache $(INGOT_CACHE)
	tools/first-push.sh

down:
	bin/ingot down

# Each kind of app on the Ingot that runs here.
examples:
	tools/examples.sh

# Helpers first: ingot carries them inside.
build: packages helpers bin/cf
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X ingot/role.Version=$(VERSION)" -o bin/ingot .

helpers:
	tools/build.sh
	CGO_ENABLED=0 go build $(GOFLAGS_STATIC) -o diego/cell/bin/lifecycle ./diego/lifecycle
	CGO_ENABLED=0 go build $(GOFLAGS_STATIC) -o buildpacks/bin/buildpack ./buildpacks/buildpack

bin/cf: tools/cf/go.mod tools/cf/go.sum
	cd tools/cf && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X code.cloudfoundry.org/cli/v8/version.binaryVersion=8.18.0" \
		-o ../../bin/cf code.cloudfoundry.org/cli/v8

packages:
	tools/packages.sh build

quick: lint
	go vet ./...
	go test ./...

# Everything, with real containers and the official cf. A skipped test is a failure.
test: build
	tools/packages.sh test
	INGOT_WORLD=1 go test -json -count 1 -p 3 -parallel 4 -timeout 80m ./... | go run ./test/report -noskip

lint:
	go tool -modfile=tools/lint/go.mod golangci-lint run

fmt:
	gofmt -w $$(git ls-files '*.go')

# Room benchmarks beside their hot paths, then the whole platform beside its peers; docs/performance.md tells of the figures.
bench: build
	tools/packages.sh bench
	{ INGOT_WORLD=1 go test -run '^$$' -bench . -benchtime 1s $$(go list ./... | grep -v /test/) && \
	  INGOT_WORLD=1 go test -run '^$$' -bench . -benchtime 5x -timeout 15m ./test/bench; } | go run ./test/bench/table

uninstall:
	bin/ingot uninstall --purge --cache $(INGOT_CACHE)
