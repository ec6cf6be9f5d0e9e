# The image of every digua service: hub, worker, SuperLink, witness and nodes differ in their command alone.
ARG BASE=python:3.11-slim-bookworm
# hadolint ignore=DL3006
FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY crypto crypto
COPY models models
COPY nodes nodes
COPY hub hub
RUN python3 -m venv /opt/digua && /opt/digua/bin/pip install --no-cache-dir --no-compile .

# hadolint ignore=DL3006
FROM ${BASE}
COPY --from=build /opt/digua /opt/digua
COPY configs /usr/share/digua/configs
ENV PATH=/opt/digua/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    FLWR_TELEMETRY_ENABLED=0 \
    FLWR_DISABLE_UPDATE_CHECK=1 \
    OPENBLAS_NUM_THREADS=1 \
    OMP_NUM_THREADS=1
# A new volume takes over owner and mode from here.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/digua
USER 10001:10001
WORKDIR /var/lib/digua
CMD ["digua-hub", "--help"]
