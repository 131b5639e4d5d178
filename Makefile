# Countersign. `make demo` shows it, `make test` proves it; both set themselves up: git, make, Python >= 3.11.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
IDP := $(VENV)/idp
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3 python
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q

export UV_SYSTEM_CERTS := 1
export NODE_USE_SYSTEM_CA := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV UV_PROJECT_ENVIRONMENT

.PHONY: help demo demo-idp test check bench lock clean setup rigs format lint house contracts dependencies types unit

help: ## what there is
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 16

demo: $(VENV)/.runtime ## the demo workspace, at the address it prints
	@exec $(BIN)/python -m bot demo $(if $(PORT),--port $(PORT)) $(ARGS)

demo-idp: $(VENV)/.runtime $(IDP)/.stamp ## the same with an identity provider beside it: linking, seen end to end
	@exec $(BIN)/python -m bot demo --idp $(if $(PORT),--port $(PORT)) $(ARGS)

test: setup ## everything, on SQLite and PostgreSQL, against real counterparts
	@exec $(BIN)/python -m $(if $(ARGS),pytest $(ARGS),tests.halves)

check: $(VENV)/.all ## format, lint, types, contracts, unit tests: a few minutes
	@$(MAKE) -j2 -Otarget format lint house contracts dependencies types unit

bench: setup ## the figures of docs/, beside their references
	@$(BIN)/python -m tests.bench $(ARGS)

setup: $(VENV)/.all rigs

format: ; @$(BIN)/ruff format --check --quiet . || { echo "Mend: $(VENV)/bin/ruff format ."; exit 1; }
lint: ; @$(BIN)/ruff check --quiet .
house: ; @$(BIN)/python -m lints
contracts: ; @said=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$said"; exit 1; }
dependencies: ; @said=$$($(BIN)/deptry . 2>&1) || { echo "$$said"; exit 1; }
types: ; @$(BIN)/mypy --no-error-summary
unit: ; @$(BIN)/python -m pytest -q --no-header --durations=0 --durations-min=5 --sqlite-only tests/unit_*

# --- what it stands on: each stamp is as new as the lock file it was made from --------------------------

$(VENV)/.made:
	@py=; for p in $(PYTHONS); do \
	  if "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then py=$$p; break; fi; done; \
	if [ -z "$$py" ]; then \
	  echo "Countersign needs Python 3.11 or newer, and here is $$(python3 --version 2>/dev/null || echo none). Mend: install python3.11 and python3.11-venv (Debian: apt-get install), or put a newer python3 on the PATH."; exit 1; fi; \
	if ! "$$py" -c 'import ensurepip, venv' 2>/dev/null; then \
	  v=$$("$$py" -c 'import sys; print("python%d.%d" % sys.version_info[:2])'); \
	  echo "$$py comes without ensurepip, so no environment can be made. Mend: apt-get install $$v-venv, then run make again."; exit 1; fi; \
	echo "Setting up in $(VENV) with $$("$$py" --version). This happens once."; \
	rm -rf $(VENV) && "$$py" -m venv $(VENV) && touch $@

$(VENV)/.uv: $(VENV)/.made requirements/uv.txt
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt || echo "uv is not to be had; pip goes on alone, slower."
	@touch $@

$(VENV)/.runtime: $(VENV)/.uv requirements/runtime.txt
	@$(call install,install,requirements/runtime.txt)
	@$(command)
	@touch $@

$(VENV)/.all: $(VENV)/.uv requirements/all.txt requirements/runtime.txt
	@$(call install,sync,requirements/all.txt)
	@$(command)
	@touch $(VENV)/.runtime $@

rigs: tests/rigs/node_modules/.stamp $(IDP)/.stamp
tests/rigs/node_modules/.stamp: $(VENV)/.all tests/rigs/package-lock.json
	@cd tests/rigs && PATH="$(BIN):$$PATH" $(BIN)/npm ci --no-update-notifier --no-audit --no-fund --loglevel=error --omit-lockfile-registry-resolved >/dev/null
	@touch $@

# The identity provider, on its own: its wheel ships a package named `tests`, which would hide ours.
$(IDP)/.stamp: $(VENV)/.uv requirements/idp.txt
	@rm -rf $(IDP) && $(BIN)/python -m venv $(IDP)
	@$(call install,sync,requirements/idp.txt,$(IDP))
	@touch $@

# uv takes seconds where pip takes a minute; both check every hash.
install = if [ -x $(BIN)/uv ] && VIRTUAL_ENV=$(CURDIR)/$(or $(3),$(VENV)) $(BIN)/uv pip $(1) --quiet --require-hashes $(if $(filter install,$(1)),-r) $(2); then :; \
	else $(or $(3),$(VENV))/bin/python -m pip install --quiet --require-hashes -r $(2); fi
# The checkout itself, evals and all, importable; and the command `countersign`.
command = $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' | { read -r lib; echo "$(CURDIR)" >"$$lib/countersign.pth"; }; \
	printf '\043!/bin/sh\nexec "%s/python" -m bot "$$@"\n' "$(BIN)" >$(BIN)/countersign && chmod +x $(BIN)/countersign

lock: $(VENV)/.uv ## resolve the dependencies anew, hashes and no addresses
	@$(BIN)/$(LOCK) --group dev -o requirements/all.txt
	@$(BIN)/$(LOCK) -c requirements/all.txt -o requirements/runtime.txt
	@echo uv | $(BIN)/$(subst pyproject.toml,-,$(LOCK)) -c requirements/all.txt -o requirements/uv.txt
	@$(BIN)/$(subst pyproject.toml,requirements/idp.in,$(LOCK)) -o requirements/idp.txt

clean: ## remove everything that make has made
	@rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info tests/rigs/node_modules
