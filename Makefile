# The work is done by scripts/, in plain sh; this file only names it.
.DEFAULT_GOAL := help
.PHONY: up down test test-all rehearse rehearse-all check bench chaos cluster-up cluster-down man help setup build

# Flags of `envctl up` and `envctl down`, of `cargo test`, and of the benchmark: make up ARGS=--json. Of the rehearsals,
# components of the example.
ARGS ?=
# Of the test cluster.
NAME ?= dev
# Of the chaos: a number that repeats one.
SEED ?=

ENVCTL := $(CURDIR)/target/release/envctl
# What setup built comes first, so that all of it has the versions that tools/go.mod pins.
export PATH := $(CURDIR)/.tools/bin:$(PATH)
export AWS_EC2_METADATA_DISABLED := true

up: build ## Sets up what is missing, builds, and starts the example on Docker Compose
	@printf '  %-10s %s\n' path 'export PATH="$(CURDIR)/target/release:$(CURDIR)/.tools/bin:$$PATH"'
	@cd examples/album && $(ENVCTL) up $(ARGS)

down: ## Removes the example, and stops the Docker Engine if `make up` started it
	@cd examples/album && $(ENVCTL) down --yes $(ARGS)
	@scripts/engine stop

test: ## Runs all tests, with real Docker, helm and Terraform
	@scripts/test $(ARGS)

test-all: ## Runs all tests, those of an hour, too: every mistake, and 20 rehearsals without one
	@ENVCTL_TEST_ALL=yes ENVCTL_MISTAKES=all ENVCTL_CLEAN_RUNS=20 scripts/test $(ARGS)

rehearse-all: ## Rehearses with every mistake of tests/rehearsal/failures, and 20 times without one: docs/mistakes.md
	@ENVCTL_MISTAKES=all ENVCTL_CLEAN_RUNS=20 scripts/test --test it -- --nocapture each_mistake gives_no_alarm

check: ## Checks format, lints, dependencies and scripts
	@scripts/check

bench: build ## Measures envctl against the same work by hand
	@scripts/bench $(ARGS)

chaos: ## Kills envctl at random places on a test cluster, fifty times, and expects that nothing is left
	@ENVCTL_CHAOS_SEED=$(SEED) scripts/chaos $(ARGS)

rehearse: ## Rehearses a cutover of each kind on a test cluster, of the example: make rehearse ARGS="admin api"
	@scripts/rehearse $(ARGS)

cluster-up: ## Starts a test cluster and prints the variables for a shell
	@scripts/cluster up $(NAME) $(ARGS)

cluster-down: ## Removes the test cluster
	@scripts/cluster down $(NAME)

man: build ## Writes the manual pages into target/man
	@$(ENVCTL) man target/man

help: ## Shows this
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | while IFS='	' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

setup:
	@scripts/setup

# The agent first: envctl carries it.
build: setup
	@scripts/agent
	@cargo build --locked --release --package envctl
