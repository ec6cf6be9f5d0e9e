# digua: `make demo` shows the main job on real data, `make test` proves it. Both set up .venv when it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
LOCK ?= requirements.lock
BUNDLE := out/bundle
BASE ?= python:3.11-slim-bookworm
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export RAY_USAGE_STATS_ENABLED := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Several nodes share this machine: BLAS threads of one would starve the others.
export OPENBLAS_NUM_THREADS := 1
export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-deployment test-faults test-web image check bench lock bundle bundle-check clean

help: ## show this
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp depends on pyproject.toml only: the package itself is installed in editable form.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("digua needs Python 3.11 or newer; set PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing digua and its libraries into $(VENV) (about a minute)"
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed ## run the main job on real data; ARGS="--exit --out DIR --merchants N"
	@$(BIN)/digua-hub demo $(ARGS)

test: $(VENV)/.installed ## run the tests (under 15 minutes on two cores)
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not deployment and not faults and not web" $(ARGS)

test-slow: $(VENV)/.installed ## run the measured targets: accuracy, memory, the demo as processes
	@$(BIN)/python -m pytest -m slow $(ARGS)

test-deployment: $(VENV)/.installed ## as root: run the services of docker-compose.yml and Flower's engine as processes
	@$(BIN)/python -m tests.deployment.requirements
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/python -m pytest -m deployment $(ARGS)
	@echo "The image itself was not built here: make image does that."

image: ## build the image of the digua services with buildah, podman or docker; BASE=IMAGE for another base
	@builder=$$(command -v buildah || command -v podman || command -v docker) || \
		{ echo "make image needs buildah, podman or docker; none is here." >&2; exit 2; }; \
	"$$builder" build --build-arg BASE=$(BASE) --tag digua:0.1.0 .

test-faults: $(VENV)/.installed ## kill processes at every step of campaigns and queries
	@$(BIN)/python -m pytest -m faults $(ARGS)

test-web: $(VENV)/.installed ## open the pages in Chromium (apt-get install chromium fonts-wqy-microhei): roles, axe, screenshots
	@$(BIN)/python -m pytest -m web $(ARGS)

check: $(VENV)/.installed ## lint, format, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.installed ## run the benchmarks; results are printed and kept in benchmarks/results/
	@$(BIN)/python -m benchmarks $(ARGS)

lock: $(VENV)/.installed ## resolve requirements.lock anew; ARGS="--upgrade"
	@$(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' --output-file $(LOCK) $(ARGS)

# Hashes of the lock file are checked here already; digua's own wheel gets its own.
bundle: $(VENV)/.installed ## wheels of all that is locked, for machines without Internet (docs/intranet.md); LOCK=… ARGS=…
	@rm -rf $(BUNDLE) build && mkdir -p $(BUNDLE)/wheelhouse
	@$(BIN)/python -m pip download --quiet --require-hashes --only-binary :all: --dest $(BUNDLE)/wheelhouse \
		--requirement $(LOCK) $(ARGS)
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir $(BUNDLE)/wheelhouse .
	@cp $(LOCK) $(BUNDLE)/requirements.txt
	@printf '%s ' "$$($(BIN)/digua-node --version | sed 's/ /==/')" >> $(BUNDLE)/requirements.txt
	@$(BIN)/python -m pip hash $(BUNDLE)/wheelhouse/digua-*.whl | grep -e '^--hash' >> $(BUNDLE)/requirements.txt
	@cp -r LICENSE configs docs $(BUNDLE)/
	@cd $(BUNDLE) && find . -type f ! -name SHA256SUMS | sort | xargs sha256sum > SHA256SUMS
	@du -sh $(BUNDLE)

bundle-check: ## install the bundle into a fresh environment, with nothing but the bundle, and start both commands
	@rm -rf $(BUNDLE)-check && $(PYTHON) -m venv $(BUNDLE)-check
	@cd $(BUNDLE) && sha256sum --quiet --check SHA256SUMS
	@env -i PATH="$$PATH" PIP_CONFIG_FILE=/dev/null $(BUNDLE)-check/bin/pip install --quiet --no-index \
		--find-links $(BUNDLE)/wheelhouse --require-hashes --requirement $(BUNDLE)/requirements.txt
	@env -i $(BUNDLE)-check/bin/pip check
	@cd $(BUNDLE)-check && env -i bin/digua-node --version && env -i bin/digua-hub --version

clean: ## remove what make made
	@rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
