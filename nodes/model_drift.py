"""Do the rows that a node holds today still look like those that a model was trained on?

The noisy table of a released model is public and comes from the hub; its digest is in the model, so a hub cannot give
out another. The node counts its own rows, compares, and tells its owner: the hub learns that the table was asked for. A
difference need not be a change over time: a node may always have had other merchants than all nodes together.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.drift import FeatureDrift, own_drift
from models.errors import ArtefactError
from models.published_table import PublishedTable
from models.said import said
from models.tables import OpenedTable
from nodes.errors import PeerError, SourceError
from nodes.frozen_counts import BinCounts
from nodes.hub_client import HubClient, parsed
from nodes.model_book import BookedModel
from nodes.runtime import NodeRuntime
from nodes.settled_tables import SettledTables


@dataclass(frozen=True)
class ModelDrift:
    """Own rows against a model's private table; features in the order of the schema."""

    model_id: str
    rows: int
    features: tuple[FeatureDrift, ...]


def public_table(hub: HubClient, model: BookedModel) -> OpenedTable:
    """The noisy table that a model was fitted on.

    Raises:
        PeerError: the hub is out of reach, has no table of the model, or answers with something else.
        ArtefactError: the table is not that of the model.
        DataError: as before, its cells are not those of the model's features.
    """
    answer = hub.request("GET", f"/v1/models/{model.model_id}/table")
    return parsed(PublishedTable, answer).opened(model.artefact)


def known_table(hub: HubClient, model: BookedModel) -> OpenedTable | None:
    """The same, or None where the hub cannot give it now."""
    try:
        return public_table(hub, model)
    except PeerError:
        return None


def model_drift(runtime: NodeRuntime, model: BookedModel) -> ModelDrift:
    """Compare the node's own rows with the table of a model.

    Raises:
        SourceError: the node has no table under the model's schema.
        ArtefactError: the model has no points for this kind of source, or its table is another's.
        PeerError: as `public_table`.
    """
    kind = runtime.config.kind
    if model.artefact.scorecard is None or kind not in model.card.kinds:
        raise ArtefactError(
            f"model {model.model_id} has no features of kind {kind}",
            field="model",
            remedy="name a scorecard that uses this node's kind",
        )
    own = SettledTables(runtime.dataset, kind).under(model.artefact.schema_sha256, model.artefact.schema_of)
    if own is None:
        raise SourceError(
            said("this node has no table under the schema of the model"),
            field="datasets",
            remedy=said("add the schema and its table under datasets of node.yaml"),
        )
    counted = BinCounts([feature.width for feature in model.schema.features(kind)])
    counted.add(own.codes)
    features = own_drift(public_table(runtime.hub, model), kind, counted.counts())
    return ModelDrift(model.model_id, len(own.ids), features)
