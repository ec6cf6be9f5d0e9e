"""Earlier campaigns' results in a new one: opened tables that its fit counts (`models.pooling`), and the model that its
encoder starts from (`models.encoder_start`).

They were published with noise already, so that using them again costs no merchant anything. A model that is no
longer released by then is left out of the fit; the witness opens each of the others again before it releases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from crypto.keys import Signer
from hub.campaign_book import CampaignBook
from hub.campaign_errors import CampaignOrderError
from hub.campaign_record import CampaignRecord
from hub.errors import NotFoundError
from hub.models import RELEASED, ModelRegistry
from hub.opened_tables import opened_table
from hub.recruiting import order_spec
from models.artefact import ModelArtefact
from models.campaign_file import CampaignFile
from models.encoder_spec import EncoderSpec
from models.encoder_start import first_parameters
from models.errors import ArtefactError, DataError
from models.pooling import check_same_bins
from models.schema import Schema
from models.tables import OpenedTable

_logger = structlog.get_logger("hub.campaigns")
_REMEDY = "Name released models of campaigns with the same bins, or none."


@dataclass(frozen=True)
class EarlierTables:
    """What the hub knows of models and of the campaigns that they came from.

    Attributes:
        hub_key: the hub's signing key, under whose line terms are signed.
    """

    models: ModelRegistry
    book: CampaignBook
    hub_key: Signer

    def check(self, order: CampaignFile, schema: Schema) -> None:
        """Refuse an order whose earlier models cannot be counted.

        Raises:
            CampaignOrderError: a model to start from is not released or does not fit; or one to count is not there,
                is no scorecard of its own columns alone, is not released, has other bins, noise where this campaign
                has none or none where it has, or its table is gone.
        """
        if order.encoder is not None and order.encoder.start is not None:
            spec = order_spec(order, schema)
            try:
                first_parameters(spec, schema, self.start(spec))
            except (ArtefactError, DataError) as problem:
                raise _refused(f"{problem.message}.", "encoder.start") from problem
        for model_id in order.earlier:
            artefact = self._released(model_id)
            if artefact is None:
                raise _refused(f"Model {model_id} is not released.")
            if artefact.scorecard is None or artefact.encoders_used:
                raise _refused(f"Model {model_id} is no scorecard, or one with an encoder's output as a feature.")
            if artefact.privacy.noise != order.noise:
                raise _refused(f"Model {model_id} was made with noise {artefact.privacy.noise}.")
            try:
                check_same_bins(schema, artefact.schema_of())
            except DataError as problem:
                raise _refused(f"Model {model_id}: {problem.message}.") from problem
            self._table(artefact)

    def start(self, spec: EncoderSpec) -> bytes | None:
        """Return the artefact of the model that an encoder starts from, if it does.

        Raises:
            CampaignOrderError: that model is not released.
        """
        if spec.start is None:
            return None
        if self._released(spec.start) is None:
            raise _refused(f"Model {spec.start} is not released.", "encoder.start")
        return self.models.artefact(spec.start)

    def load(self, model_ids: Sequence[str]) -> dict[str, OpenedTable]:
        """Return the opened tables of those models that are still released, in order.

        Raises:
            CampaignOrderError: a model's table is gone.
        """
        found: dict[str, OpenedTable] = {}
        for model_id in model_ids:
            artefact = self._released(model_id)
            if artefact is None:
                _logger.warning("earlier-model-left-out", model=model_id)
                continue
            found[model_id] = self._table(artefact)
        return found

    def _released(self, model_id: str) -> ModelArtefact | None:
        try:
            if self.models.status(model_id) not in RELEASED:
                return None
            return ModelArtefact.from_bytes(self.models.artefact(model_id))
        except NotFoundError:
            return None

    def _table(self, artefact: ModelArtefact) -> OpenedTable:
        released = CampaignRecord(self.book, artefact.campaign, hub_key=self.hub_key).released()
        table = None if released is None else opened_table(released)
        if table is not None and table.digest() == artefact.table_digest:
            return table
        raise _refused(f"The table of model {artefact.model_id} is gone.")


def _refused(sentence: str, field: str = "earlier") -> CampaignOrderError:
    return CampaignOrderError(sentence, field=field, remedy=_REMEDY)
