# Two commands lead: `make quickstart` and `make test`. Both do all set-up by themselves.

.PHONY: help setup setup-tests quickstart test test-fast lint fuzz bench bench-store

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what building and baking need (Debian packages); does nothing where all is there
	@sh scripts/setup

setup-tests: ## Install what the tests need beside that
	@sh scripts/setup tests

quickstart: setup ## Bake, check and record an image in a real virtual machine
	@sh scripts/quickstart

lint: ## Formatting and clippy
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings

# Most of a fast test is waiting for a server that it started, so more of them run at once than there are processors.
test-fast: ## The tests that start no virtual machine
	cargo test --locked --lib --bins --test suite --test azure -- --test-threads 8 --skip matrix::matrix_ --skip fidelity::

# Three machines at once want this computer for themselves. On a computer that is too slow for all of it within VAULT_BAKE_TEST_MINUTES the
# tests with machines that have not begun by then are skipped, each with a line that says so.
VAULT_BAKE_TEST_MINUTES ?= 50
test: export VAULT_BAKE_TEST_UNTIL := $(shell echo $$(($$(date +%s) + 60 * $(VAULT_BAKE_TEST_MINUTES))))
test: setup-tests lint ## All tests, those with real virtual machines included; begins none of those after VAULT_BAKE_TEST_MINUTES (50)
	$(MAKE) --no-print-directory test-fast
	cargo test --locked --test azure -- --nocapture matrix::matrix_ fidelity::
	cargo test --locked --test real -- --test-threads 2 --skip form_a_cluster
	cargo test --locked --test real -- form_a_cluster
	cargo test --locked --doc

fuzz: ## Run each fuzz target for MINUTES (10); needs a nightly toolchain, and installs cargo-fuzz
	@sh scripts/fuzz

bench: ## Time bakes beside Packer's on this machine (BENCH_RUNS, 3), uploads beside scp and sftp, and a bake on a simulated Azure
	@sh scripts/setup bench
	@sh scripts/bench
	cargo bench --locked --bench upload
	cargo bench --locked --bench azure

bench-store: setup ## Time a store of 100,000 manifests (BENCH_MANIFESTS) on this machine
	cargo bench --locked --bench store
