# Every task of the project is a target here, and CI runs exactly these. `make` lists them.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BUF     := go tool -modfile=tools/buf/go.mod buf
LINT    := go tool -modfile=tools/lint/go.mod golangci-lint
FUZZ    ?= 10s
BENCH   ?=
RELEASE ?= all

# A root shell without sbin would not find containerd's and nftables' commands.
export PATH := $(PATH):/usr/sbin:/sbin

.DEFAULT_GOAL := help
.PHONY: help deps deps-test deps-packages deps-host deps-bench build packages demo dev test test-unit test-network test-integration test-contract test-contract-warm test-logs test-logs-full \
	test-packages test-host test-host-part bench bench-logs bench-host fleet lint vet imports format \
	proto proto-check proto-lint proto-format proto-current fuzz fuzz-logs cover clean

help: ## list the targets
	@awk -F ': .*## |:.*## ' '/^[a-z-]+:.*## / { printf "%-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what building and the demo need and is missing (apt, root)
	@tools/deps.sh

deps-test: ## install what the tests need besides (apt, root)
	@tools/deps.sh test

deps-bench: deps ## install what the comparison with others needs (apt, root)
	@tools/deps.sh bench

deps-packages: ## install what the tests of packages need (apt, root)
	@tools/deps.sh packages

deps-host: deps-test ## install what virtual hosts need besides (apt, root)
	@tools/deps.sh host

build: ## build dynod, dynoctl, dynoplane and dyno-init, static, into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -ldflags './cmd/dyno-init=-s -w -E dyno_init' -o bin/ ./cmd/...

packages: ## build deb and rpm for amd64 and arm64, into build/packages
	packaging/build.sh $(VERSION) build/packages

demo: deps build ## show the whole line on this machine in a minute, then clean up (root)
	go run ./test/demo

dev: deps build ## the same, left standing to play with (root)
	go run ./test/demo -stay

test: deps-test test-integration test-contract test-logs test-packages ## all tests

test-unit: ## those tests that need neither root nor containerd
	go test -race -short ./...

test-network: deps-test ## the walls around a dyno's network, from inside it, against the real kernel (root); part of test
	go test -race -count=1 -timeout 10m ./network

test-integration: deps-test ## unit tests, and those against real containerd, kernel and network, two packages at a time (root)
	go test -race -count=1 -p 2 -timeout 20m $$(tools/packages.sh)

test-contract: deps-test ## every sentence of docs/contract.md on real dynos, a line for each (root)
	@tools/contract.sh

test-contract-warm: deps-test ## the same with slots kept warm for them
	@tools/contract.sh -warm=32

test-logs: deps-test ## no log line lost, none doubled, over some kills and outages (root)
	go test -count=1 -v -timeout 5m ./test/exact

test-packages: deps-packages ## packages: reproducible, clean, installed into a Debian, upgraded, removed, purged (root)
	go test -count=1 -timeout 20m ./test/packages

test-host: deps-host ## acceptance on virtual hosts with systemd, for hours: RELEASE=all, bookworm, trixie or forky (root)
	go test -count=1 -v -timeout 6h ./test/host -release $(RELEASE)

test-host-part: deps-host ## of those, what fits into every run, on the oldest release (root)
	go test -count=1 -timeout 20m ./test/host -run TestHost -release bookworm -part

bench-host: deps-host ## a start beside ctr's on a virtual host with crun and cgroup v2, for half an hour (root)
	go test -count=1 -run xxx -bench Starts -benchtime 1x -timeout 2h ./test/host -release trixie

test-logs-full: deps-test ## the same over 1,000 kills and 20 million lines, for up to 40 minutes (root)
	go test -count=1 -v -timeout 50m ./test/exact -full

bench: deps-bench ## starts, stops, memory and slugs beside ctr, Docker and podman, for 15 minutes; into build/ (root)
	go run ./test/bench $(BENCH)

fleet: ## what 1,000 simulated hosts cost a control plane, and how they come back to it; into build/
	go run ./test/fleet

bench-logs: deps-test ## what a log line costs, beside Docker and ctr, the memory of 200 dynos, and a quiet line beside a flood; into build/ (root)
	go run ./test/bench/logs

lint: vet imports ## vet, the import rule, golangci-lint with gofumpt
	$(LINT) run

vet: ## go vet
	go vet ./...

imports: ## who may import whom
	go test ./test/imports

format: ## format the Go and proto files
	$(LINT) fmt
	$(BUF) format -w

proto: ## generate Go from proto/
	$(BUF) generate

proto-check: proto-lint proto-format proto-current ## proto files linted and formatted, generated code up to date

proto-lint:
	$(BUF) lint

proto-format:
	$(BUF) format -d --exit-code

# The underscore keeps the go command from seeing packages there.
proto-current:
	rm -rf build/_proto
	$(BUF) generate -o build/_proto
	diff -r -x '*.proto' -x lines.go proto build/_proto/proto

fuzz: ## run each fuzz target for FUZZ (10s)
	tools/fuzz.sh $(FUZZ)

fuzz-logs: ## fuzz line cutting, spool reading, frame writing and the capture protocol for a minute each
	tools/fuzz.sh 60s ./logs:FuzzCutter ./logs/spool:FuzzDamage ./logs/syslog:FuzzFrames ./logs/capture:FuzzServe

cover: deps-test ## run all tests for coverage, into build/cover.out (root)
	mkdir -p build
	go test -p 1 -timeout 20m -coverpkg=./... -coverprofile=build/cover.out ./...
	go tool cover -func=build/cover.out | tail -1

clean: ## remove what was built, and what interrupted tests left on this machine
	go run ./test/lab/sweep
	rm -rf bin build
