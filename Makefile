# Everything happens in .venv; `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.DEFAULT_GOAL := help

.venv/installed: pyproject.toml constraints.txt $(wildcard models/backends/native/*.cpp models/backends/native/*.h)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "Installing; torch is large, this takes a few minutes the first time ..."
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo,train,export,plots,docs,dev]'
	@touch $@

install: .venv/installed ## make .venv and install into it

run: install ## the whole monitor in one process, with a sample feed (options: ARGS=--plain)
	@$(BIN)/monitor demo $(ARGS)

up: ## Kafka, PostgreSQL, Prometheus, Alertmanager, Grafana and the monitor with a sample feed, in containers
	docker/make-secrets
	docker compose -f docker/compose.yaml build monitor
	docker compose -f docker/compose.yaml --profile sample up --detach
	@echo "Grafana: http://127.0.0.1:3000 (admin, password in docker/secrets/grafana_admin_password)"
	@echo "Alerts:  http://127.0.0.1:9108/alerts   Alertmanager: http://127.0.0.1:9093   Prometheus: http://127.0.0.1:9090"

down: ## stop the containers; the data stays
	docker compose -f docker/compose.yaml --profile sample down

dashboards: install ## write the Grafana dashboards
	$(BIN)/python docker/grafana/build.py

docs: install ## generate the reference pages and build the documentation site into site/
	$(BIN)/python -m tools.generate_docs
	$(BIN)/zensical build --strict

test: install ## the whole test suite, against real parts (options: ARGS="-k store")
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

faults: install ## pull the plug at every step of a batch (options: SEEDS=100 FIRST_SEED=1)
	$(BIN)/python -m tests.faults.runner --seeds $(or $(SEEDS),100) --first-seed $(or $(FIRST_SEED),1)

check: install ## formatting, lint, strict types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: install ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove everything that was made
	rm -rf .venv .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache site *.egg-info build models/backends/native/_native.*.so tests/kafka/target
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install run up down dashboards docs test faults check fmt clean help
