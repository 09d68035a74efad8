# Two commands lead: `make quickstart` and `make test`. Both do all set-up by themselves.

.PHONY: help setup setup-tests setup-runner quickstart test test-fast test-all lint fuzz bench bench-store

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what building and baking need (Debian packages); does nothing where all is there
	@sh scripts/setup

setup-tests: ## Install what the tests need in addition
	@sh scripts/setup tests

setup-runner: ## Install only the tests' runner, cargo-nextest
	@sh scripts/setup runner

quickstart: setup ## Bake, check and record an image in a real virtual machine
	@sh scripts/quickstart

lint: ## Formatting and clippy
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

test-fast: setup-runner ## The tests that start no VM: seconds, to be run all the time
	@sh scripts/test fast

test: setup-tests ## Every promise once, in VMs and containers too: at most 25 minutes on 2 cores without KVM
	@sh scripts/test default

test-all: setup-tests ## All of that in its exhaustive form: before a release
	@sh scripts/test all

fuzz: ## Run each fuzz target for MINUTES (10); needs a nightly toolchain, and installs cargo-fuzz
	@sh scripts/fuzz

bench: ## Time bakes beside Packer's on this machine (BENCH_RUNS, 3), uploads beside scp and sftp, and a bake on a simulated Azure
	@sh scripts/setup bench
	@sh scripts/bench
	cargo bench --locked --bench upload
	cargo bench --locked --bench azure

bench-store: setup ## Time a store of 100,000 manifests (BENCH_MANIFESTS) on this machine
	cargo bench --locked --bench store
