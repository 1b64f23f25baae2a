# All targets use .venv. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# The version's only home is pyproject.toml.
VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)

.DEFAULT_GOAL := help

.venv/installed: pyproject.toml constraints.txt $(wildcard models/backends/native/*.cpp models/backends/native/*.h)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is required: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "Installing. PyTorch is large: the first time takes a few minutes ..."
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[calendars,demo,train,export,plots,docs,dev]'
	@touch $@

install: .venv/installed ## create .venv and install everything into it

run: install ## run the whole monitor in one process with a sample feed, and print the address of its page (options: ARGS=--open)
	@$(BIN)/monitor demo $(ARGS)

up: ## start Kafka, PostgreSQL, Prometheus, Alertmanager, Grafana and the monitor with a sample feed in containers
	docker/make-secrets
	VERSION=$(VERSION) docker compose -f docker/compose.yaml build monitor
	[ -s docker/secrets/web_passwords ] || docker compose -f docker/compose.yaml run --rm --no-deps --no-TTY monitor \
		access password admin --role admin < docker/secrets/web_password > docker/secrets/web_passwords
	docker compose -f docker/compose.yaml --profile sample up --detach
	@echo "Grafana: http://127.0.0.1:3000 (admin, password in docker/secrets/grafana_admin_password)"
	@echo "The desk's page: http://127.0.0.1:9108/ (admin, password in docker/secrets/web_password)"
	@echo "Alertmanager: http://127.0.0.1:9093   Prometheus: http://127.0.0.1:9090"

down: ## stop the containers and keep their data
	docker compose -f docker/compose.yaml --profile sample down

dashboards: install ## generate the Grafana dashboards
	$(BIN)/python docker/grafana/build.py

docs: install ## generate the reference pages and build the documentation site into site/
	$(BIN)/python -m tools.generate_docs
	$(BIN)/zensical build --strict

test: install ## run all tests, against real Kafka, PostgreSQL and Prometheus (options: ARGS="-k store")
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

faults: install ## kill workers among other hazards and compare SQL with the input (options: SEEDS=100 FIRST_SEED=1)
	$(BIN)/python -m tools.faults --seeds $(or $(SEEDS),100) --first-seed $(or $(FIRST_SEED),1)

nightly: ## run the checks that take too long for make test: 30 fault runs, outages, memory under overload
	$(MAKE) faults SEEDS=30
	$(BIN)/python -m tools.outages
	$(BIN)/python -m tools.bounds

check: install ## check formatting, lint, types and import rules (as .pre-commit-config.yaml does)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: install ## format the code and apply safe lint fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

dist: install ## build the sdist, the wheel, and the wheel of the large model if it is here into dist/
	$(BIN)/python -m build
	[ ! -f models/judge/model.json ] || $(BIN)/python -m build --wheel --outdir dist models/judge

clean: ## remove everything that other targets create
	rm -rf .venv .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache site *.egg-info build dist models/judge/build models/judge/*.egg-info models/backends/native/_native.*.so tests/kafka/target
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install run up down dashboards docs test faults nightly check fmt dist clean help
