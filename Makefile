# agent_policy - building, installing and testing. `make` alone lists the targets.

PG_CONFIG ?= pg_config
DESTDIR ?=
V ?=
B ?=
L ?=
SECONDS ?= 600
C ?=

SHELL := /bin/bash

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup build install installcheck installcheck-core test test-clients ablation crash-storm fuzz-wire \
        noninterference noninterference-planted test-unit \
        test-pg test-cluster test-cassert sqlsmith lint \
        schema check-schema demo psql psql-agent clean-demo bench clean

help: ## list the targets
	@echo 'Targets:'
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' \
	  | awk -F'\t' '{ printf "  %-23s %s\n", $$1, $$2 }'
	@echo
	@echo 'Variables:'
	@echo '  PG_CONFIG=PATH   the PostgreSQL to build for (default: pg_config in PATH)'
	@echo '  DESTDIR=DIR      install below DIR'
	@echo '  V="17 18"        versions for test-pg, test-cluster (default: 15 16 17 18),'
	@echo '                   installcheck-core, test-clients'
	@echo '  C=NAME           which client'
	@echo '  B=NAME           which benchmark'
	@echo '  L="NAME ..."     which layers'
	@echo '  N=500            how many crashes; SEED=1 which'
	@echo '  SECONDS=N        how long sqlsmith, fuzz-wire and noninterference run (default: 600)'

setup: ## install PostgreSQL 15 to 18, cargo-pgrx and tools for development
	@scripts/setup.sh all

build: ## release build for PG_CONFIG
	@scripts/build.sh --pg-config '$(PG_CONFIG)' --release

install: ## release build for PG_CONFIG, copied into that PostgreSQL
	@scripts/install.sh --pg-config '$(PG_CONFIG)' --release --destdir '$(DESTDIR)'

installcheck: ## cluster tests with the extension that is installed for PG_CONFIG
	@scripts/test.sh cluster --no-install --pg-config '$(PG_CONFIG)'

installcheck-core: ## PostgreSQL's own regression suite with the extension, for 15, 17 and 18 or V=
	@scripts/installcheck-core.sh $(V)

test-clients: ## real clients (psql, drivers, dbt, MCP servers) as a confined role, on 18 and 15 or V=; C= one client
	@scripts/test-clients.sh $(V) $(C)

test: ## everything: lint, unit, pg and cluster tests; ends with "N passed, N failed"
	@scripts/test.sh all

noninterference: ## two worlds that differ in what is hidden, for SECONDS, on 18 or V=: equal answers?
	@scripts/noninterference.sh $(SECONDS) $(V)

noninterference-planted: ## the same with leaks on purpose: is each found?
	@scripts/noninterference.sh 120 $(V) --planted

ablation: ## one layer of the enforcement switched off at a time, on 15 and 18 or V=: who gets through? L= some layers
	@scripts/ablation.sh $(V) $(addprefix --layer ,$(L))

crash-storm: ## N=500 crashes under load, on 15 and 18 or V=: is every row that a client got in the audit, once?
	@SEED='$(or $(SEED),1)' scripts/crash-storm.sh '$(or $(N),100)' $(V)

fuzz-wire: ## random messages as a confined role for SECONDS, on 18 or V=
	@scripts/fuzz-wire.sh $(SECONDS) $(V)

test-unit: ## tests that need no PostgreSQL
	@scripts/test.sh unit

test-pg: ## tests inside a server, for every version or V=
	@scripts/test.sh pg $(V)

test-cluster: ## tests against real clusters, for every version or V=
	@scripts/test.sh cluster $(V)

test-cassert: ## a part of the cluster tests against PostgreSQL 18 with assertions
	@scripts/test.sh cassert

sqlsmith: ## random statements as a confined role, for SECONDS=1200, on 18 or V=
	@SQLSMITH_SEED="$${SQLSMITH_SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d " ")}" SQLSMITH_SECONDS='$(SECONDS)' scripts/test.sh sqlsmith $(or $(V),18)

lint: ## rustfmt, clippy for every version, cargo deny, committed schema
	@scripts/test.sh lint $(V)

schema: ## write sql/agent_policy--<version>.sql from the sources (needs cargo-pgrx)
	@scripts/schema.sh $(V)

check-schema: ## compare the committed SQL with the sources (needs cargo-pgrx)
	@scripts/schema.sh --check $(V)

demo: ## start a demonstration cluster
	@scripts/demo.sh

psql: ## psql as administrator of the demonstration
	@scripts/demo.sh psql

psql-agent: ## psql as the agent of the demonstration
	@scripts/demo.sh psql-agent

clean-demo: ## stop and remove the demonstration cluster
	@scripts/demo.sh clean

bench: ## run the benchmarks, or the one named by B=
	@scripts/bench.sh $(B)

clean: ## remove the build output
	@cargo clean
