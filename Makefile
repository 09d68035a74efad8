# Start with `make quickstart` or `make test`. Both install what they need.

.PHONY: help setup setup-tests setup-runner quickstart test test-fast test-all lint fuzz bench bench-store

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install the Debian packages that builds need; does nothing if all are installed
	@sh scripts/setup

setup-tests: ## Install the packages of the tests too
	@sh scripts/setup tests

setup-runner: ## Install only the test runner, cargo-nextest
	@sh scripts/setup runner

quickstart: setup ## Build, check and record an image in a VM
	@sh scripts/quickstart

lint: ## Check formatting, and run clippy
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

test-fast: setup-runner ## Run the tests without VMs, in seconds
	@sh scripts/test fast

test: setup-tests ## Test every promise once, VMs and containers included: at most 30 minutes on 2 cores without KVM
	@sh scripts/test default

test-all: setup-tests ## Run the exhaustive forms too, before a release
	@sh scripts/test all

fuzz: ## Run each fuzz target for MINUTES (10); needs a nightly toolchain and installs cargo-fuzz
	@sh scripts/fuzz

bench: ## Compare builds with Packer's (BENCH_RUNS, 3) and uploads with scp and sftp; time a build on a simulated Azure
	@sh scripts/setup bench
	@sh scripts/bench
	cargo bench --locked --bench upload
	cargo bench --locked --bench azure

bench-store: setup ## Time a store of 100,000 manifests (BENCH_MANIFESTS)
	cargo bench --locked --bench store
