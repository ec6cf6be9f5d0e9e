"""The parts of the hub that campaigns use, without the training framework: it is loaded when one begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crypto.keys import Signer
from hub.campaign_book import CampaignBook
from hub.earlier_tables import EarlierTables
from hub.model_evaluations import ModelEvaluations
from hub.models import ModelRegistry
from hub.parties import PartyBook
from hub.peers import PeerLinks
from hub.roster import RosterKeeper
from models.stages import EngineName


@dataclass(frozen=True)
class CampaignServices:
    """The parts of the hub that campaigns use.

    Attributes:
        evaluations: of models.
        links: gives the links when they are needed, for what is asked of the witness outside of a grid.
        engines: those that the hub offers.
        trip_timeout_s: after this a node that has not answered counts as lost.
        reconnect_s: how long a campaign that is taken up again waits for its parties' links.
    """

    book: CampaignBook
    parties: PartyBook
    roster: RosterKeeper
    models: ModelRegistry
    evaluations: ModelEvaluations
    identity: Signer
    links: Callable[[], PeerLinks]
    engines: tuple[EngineName, ...]
    trip_timeout_s: float
    reconnect_s: float

    @property
    def earlier(self) -> EarlierTables:
        """Earlier campaigns' tables, for campaigns that count them in their fit."""
        return EarlierTables(self.models, self.book, self.identity)
