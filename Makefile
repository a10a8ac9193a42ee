# `make` or `make help` lists what there is. Everything happens in .venv; nothing is installed outside it but the
# Debian packages that `test` and `bench` name, and those only when missing.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PY := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help setup setup-dev demo run test chaos fuzz simulate check format bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv with what Signalbox needs to run
	@scripts/setup.sh requirements.lock

setup-dev:
	@scripts/setup.sh requirements-dev.lock

demo: setup ## see it work: three workflows run from trigger to record, then everything stops
	@$(PY) examples/demo.py

run: setup ## start Signalbox on this machine (PORT=8000 DATA=.signalbox)
	@.venv/bin/signalbox up --port $(or $(PORT),8000) --data $(or $(DATA),.signalbox)

test: setup-dev ## every test, on private servers (ARGS="-k webhook" for some)
	@scripts/debian-packages.sh rabbitmq-server prometheus curl
	@$(PY) -m pytest -n 3 --dist loadfile $(or $(ARGS),tests)

chaos: setup-dev ## bad days at length: services and servers killed, stopped, frozen, full, cut off (SEEDS=1,2,3)
	@scripts/debian-packages.sh rabbitmq-server libfaketime iproute2
	@SIGNALBOX_CHAOS=long SIGNALBOX_CHAOS_SEEDS=$(or $(SEEDS),1) SIGNALBOX_CHAOS_ROUNDS=5 \
		SIGNALBOX_CHAOS_CALLS=10000 SIGNALBOX_CHAOS_CALLS_PER_SECOND=400 SIGNALBOX_CHAOS_OUTAGE_SECONDS=20 \
		SIGNALBOX_CHAOS_SCHEDULES=10000 SIGNALBOX_CHAOS_SCHEDULE_SECONDS=120 SIGNALBOX_CHAOS_SPOOL_ROUNDS=5 \
		$(PY) -m pytest -q -n 0 $(or $(ARGS),tests/e2e/chaos)

fuzz: setup-dev ## 50 000 malformed requests to the webhook service (REQUESTS=… SEED=…)
	@SIGNALBOX_FUZZ_REQUESTS=$(or $(REQUESTS),50000) SIGNALBOX_FUZZ_SEED=$(or $(SEED),1) \
		$(PY) -m pytest -q -n 0 tests/integration/webhooks/test_fuzz.py

simulate: setup-dev ## 100 000 random worlds with everything failing (SCHEDULES=… FROM=…; SEED=… tells one history)
	@if [ -n "$(SEED)" ]; then $(PY) -m tests.simulation $(SEED); else \
		SIGNALBOX_SIMULATE_SCHEDULES=$(or $(SCHEDULES),100000) SIGNALBOX_SIMULATE_FROM=$(or $(FROM),0) \
		$(PY) -m pytest -q -n 2 --timeout 900 tests/simulation; fi

check: setup-dev ## style, types, import contracts, dependencies and what is known against them
	@ruff check .
	@ruff format --check .
	@basedpyright
	@lint-imports
	@deptry .
	@scripts/audit-dependencies.sh

format: setup-dev ## put the code into the house style
	@ruff check --fix .
	@ruff format .

bench: setup-dev ## speed and memory on private servers (ONLY=e2e JSON=out.json)
	@scripts/debian-packages.sh rabbitmq-server wrk
	@$(PY) -m bench $(if $(ONLY),--only $(ONLY)) $(if $(JSON),--json $(JSON))

lock: setup-dev ## renew both lock files from pyproject.toml
	@scripts/lock.sh

clean: ## remove .venv and every cache; data folders stay
	@rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist
	@find libs services tests bench examples -type d -name __pycache__ -prune -exec rm -rf {} +
