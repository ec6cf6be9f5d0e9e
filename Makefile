# digua: `make demo` shows the main job on real data, `make test` proves it. Both set up .venv when it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
PLATFORM ?=
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
.PHONY: help demo test test-postgresql test-slow test-figures test-deployment test-faults test-web fuzz image check bench bench-scale bench-load bench-financings bench-rivals bench-attacks lock lock-check audit sbom bundle bundle-check clean

help: ## show this
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp depends on pyproject.toml only: the package itself is installed in editable form.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("digua needs Python 3.11 or newer; set PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing digua and its libraries into $(VENV) (about a minute)"
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

# Libraries that only the benchmarks compare with.
$(VENV)/.bench: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --editable '.[dev,bench]'
	@touch $@

# The fuzzer, which has wheels for fewer machines than the rest.
$(VENV)/.fuzz: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --editable '.[dev,fuzz]'
	@touch $@

demo: $(VENV)/.installed ## run the main job on real data; ARGS="--exit --out DIR --merchants N"; PLATFORM=1: the Two Small platform
	@$(BIN)/digua-hub demo $(if $(PLATFORM),--platform) $(ARGS)

test: $(VENV)/.installed ## run the tests (under 15 minutes on two cores)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not figures and not deployment and not faults and not web and not postgresql" $(ARGS)

test-postgresql: $(VENV)/.installed ## run the tests of the hub again, with its state in PostgreSQL
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "postgresql and not slow and not deployment and not faults and not web" $(ARGS)

test-slow: $(VENV)/.bench ## run the measured targets: accuracy, memory, attacks, the demo as processes
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "slow and not alone" $(ARGS)
	@$(BIN)/python -m pytest -m "slow and alone" $(ARGS)

test-figures: $(VENV)/.bench ## run the longest measured targets: every method's accuracy, foretold losses, a million merchants
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "figures and not alone" $(ARGS)
	@$(BIN)/python -m pytest -m "figures and alone" $(ARGS)

test-deployment: $(VENV)/.installed ## as root: run the services of docker-compose.yml and Flower's engine as processes
	@$(BIN)/python -m tests.deployment.requirements
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m deployment $(ARGS)
	@echo "The image itself was not built here: make image does that."

image: ## build the image of the digua services with buildah, podman or docker; BASE=IMAGE for another base
	@builder=$$(command -v buildah || command -v podman || command -v docker) || \
		{ echo "make image needs buildah, podman or docker; none is here." >&2; exit 2; }; \
	"$$builder" build --build-arg BASE=$(BASE) --tag digua:0.1.0 .

test-faults: $(VENV)/.installed ## kill processes at every step, cut links, fill disks, shift clocks, change keys, restart PostgreSQL
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m faults $(ARGS)

fuzz: $(VENV)/.fuzz ## fuzz every parser of foreign bytes; ARGS="--seconds 600" or "--only jws wire"
	@$(BIN)/python -m tests.fuzz $(ARGS)

test-web: $(VENV)/.installed ## open the pages in Chromium (apt-get install chromium fonts-wqy-microhei): roles, axe, screenshots
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m web $(ARGS)

check: $(VENV)/.installed ## lint, format, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.bench ## run the benchmarks, or go on with them (hours); ARGS="--quick" or "--only dp-ebm/gmsc-28k"
	@$(BIN)/python -m benchmarks $(ARGS)

bench-scale: $(VENV)/.installed ## campaigns of 28,000 to 5,000,000 merchants, 24 to 500 nodes (half an hour); ARGS="--merchants N"
	@$(BIN)/python -m benchmarks.scale $(ARGS)

bench-load: $(VENV)/.installed ## consented scores under load, open loop, beside a bare echo (ten minutes on an idle machine); ARGS="--quick"
	@$(BIN)/python -m benchmarks.load $(ARGS)

bench-financings: $(VENV)/.installed ## whole lives of 12,000 financings over the platform's API (some minutes); ARGS="--quick"
	@$(BIN)/python -m benchmarks.platform_financings $(ARGS)

bench-rivals: $(VENV)/.installed ## SPU and NVIDIA FLARE on the same rows, in environments of their own below out/; ARGS="--quick"
	@$(BIN)/python -m benchmarks.rivals $(ARGS)

bench-attacks: $(VENV)/.installed ## attack everything that a campaign publishes; ARGS="--trials N --out FILE"
	@$(BIN)/python -m benchmarks.attacks $(ARGS)

lock: $(VENV)/.installed ## resolve requirements.lock anew; ARGS="--upgrade"
	@$(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' --output-file $(LOCK) $(ARGS)

# The lock file itself is the starting point, so that a newer version in the registry is no difference.
lock-check: $(VENV)/.installed ## is requirements.lock what pyproject.toml asks for?
	@mkdir -p out && cp $(LOCK) out/lock-check.txt
	@$(MAKE) --no-print-directory lock LOCK=out/lock-check.txt
	@diff $(LOCK) out/lock-check.txt || { echo "$(LOCK) is not what pyproject.toml asks for: make lock" >&2; exit 1; }
	@echo "$(LOCK) is what pyproject.toml asks for"

audit: $(VENV)/.installed ## known vulnerabilities of what is locked; ARGS="--require" fails where they cannot be looked up, "--service osv"
	@$(BIN)/python .ci/advisories.py $(LOCK) $(ARGS)

sbom: $(VENV)/.installed ## out/sbom.cdx.json: everything that is locked, with its hashes, as CycloneDX
	@mkdir -p out
	@PYTHONWARNINGS=ignore::UserWarning $(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--of JSON --output-file out/sbom.cdx.json $(LOCK)
	@echo "out/sbom.cdx.json"

# Hashes of the lock file are checked here already; digua's own wheel gets its own.
bundle: sbom ## wheels of all that is locked, for machines without Internet (docs/intranet.md); LOCK=… ARGS=…
	@rm -rf $(BUNDLE) build && mkdir -p $(BUNDLE)/wheelhouse
	@$(BIN)/python -m pip download --quiet --require-hashes --only-binary :all: --dest $(BUNDLE)/wheelhouse \
		--requirement $(LOCK) $(ARGS)
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir $(BUNDLE)/wheelhouse .
	@cp $(LOCK) $(BUNDLE)/requirements.txt
	@printf '%s ' "$$($(BIN)/digua-node --version | sed 's/ /==/')" >> $(BUNDLE)/requirements.txt
	@$(BIN)/python -m pip hash $(BUNDLE)/wheelhouse/digua-*.whl | grep -e '^--hash' >> $(BUNDLE)/requirements.txt
	@cp -r LICENSE configs docs out/sbom.cdx.json $(BUNDLE)/
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
