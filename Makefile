# Holdfast: build, try, test, install. `make` alone lists the targets.
#
# Variables: PHP_CONFIG (which PHP to build for), LINK=static|shared (how the extension gets the
# library), YES=1 (install missing Debian packages without asking), ONCE=1 (`make run`: end after the
# story), PREFIX and DESTDIR (`make install`), JOBS.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

PHP_CONFIG ?= php-config
PREFIX ?= /usr/local
LINK ?= static
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
CARGO ?= cargo

# rustup puts Rust here, and only a new login shell has it in its path.
export PATH := $(PATH):$(HOME)/.cargo/bin
export PHP_CONFIG PREFIX DESTDIR LINK JOBS YES

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
STAGE := build/stage

.PHONY: help build library extension run test prove coverage mutants bench fuzz install uninstall clean

help: ## this list
	@echo 'make TARGET, where TARGET is one of'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## build the library, the PHP extension and the daemon, with release settings
	@packaging/prerequisites.sh build
	@$(MAKE) extension
	@echo 'built: $(STAGE)/bin/holdfastd, $(STAGE)/bin/holdfast, $(STAGE)/lib/libholdfast.so.0,'
	@echo '       $(STAGE)/lib/libholdfast.a, php-ext/modules/holdfast.so'

# The steps of `build` without its check, for targets that have made a wider check themselves.
library:
	@$(CARGO) build --release -p libholdfast -p holdfastd
	@packaging/stage.sh $(TARGET_DIR)/release $(STAGE)

extension: library
	@packaging/extension.sh $(STAGE) build/php-ext

run: ## build, play the story of a session that survives, then serve the demo site (ONCE=1: story only)
	@packaging/prerequisites.sh run
	@$(MAKE) extension
	@exec python3 tests/examples/demo/story.py $(if $(filter 1,$(ONCE)),--once)

test: ## build and run every test suite
	@packaging/prerequisites.sh test
	@exec python3 tests/run.py

prove: ## the same and more at big sizes, for some hours (tests/prove.py --list shows the parts)
	@packaging/prerequisites.sh test
	@exec python3 tests/prove.py

coverage: ## which regions of the engine no test enters (tests/coverage.py)
	@packaging/prerequisites.sh coverage
	@exec python3 tests/coverage.py

mutants: ## change the engine's recovery, locks and validation everywhere, and see whether a test fails: a night
	@exec python3 tests/mutants/run.py

bench: ## build and measure, side by side with PHP's files handler
	@packaging/prerequisites.sh bench
	@$(MAKE) extension
	@exec tests/bench/run.sh

fuzz: ## fuzz the daemon's parsers, a minute each (HOLDFAST_FUZZ_SECONDS)
	@exec python3 tests/fuzz/run.py

install: ## install library, header, PHP extension, daemon and its units (PREFIX, DESTDIR); run `make build` first
	@packaging/install.sh install

uninstall: ## remove what `make install` installed; sessions stay
	@packaging/install.sh uninstall

clean: ## remove everything that was built (and the demo's store)
	@rm -rf build php-ext/modules
	@$(CARGO) clean
