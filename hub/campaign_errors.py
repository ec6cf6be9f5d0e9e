"""What keeps campaigns and simulations from going on; part of the one tree of `hub.errors`."""

from __future__ import annotations

from hub.errors import HubError


class CampaignError(HubError):
    """A campaign cannot go on."""

    code = "campaign-failed"
    status = 409
    title = "The campaign failed"


class QuorumError(CampaignError):
    """Too few nodes are left for a campaign."""

    code = "quorum-missed"
    title = "Too few nodes for this campaign"


class YearlyBudgetError(CampaignError):
    """The witness's budget for a year of programme statistics does not admit another report."""

    code = "yearly-budget-exceeded"
    title = "The yearly budget for programme statistics does not allow it"


class EncoderTriesUsedError(CampaignError):
    """Nodes stayed away from an encoder's rounds until no charged try was left."""

    code = "encoder-tries-used"
    title = "The encoder's charged tries are used up"


class SuperLinkError(CampaignError):
    """Flower's SuperLink cannot be reached, refuses, or lost the campaign's runs."""

    code = "superlink-failed"
    status = 502
    title = "The SuperLink failed"


class CampaignAbortedError(CampaignError):
    """The operator ended the campaign."""

    code = "campaign-aborted"
    title = "The campaign was aborted"


class CampaignStateError(HubError):
    """A campaign is not in a state in which this can be done."""

    code = "campaign-state"
    status = 409
    title = "The campaign's state does not allow this"


class CampaignOrderError(HubError):
    """A campaign order does not fit its schema, or cannot be run by this hub."""

    code = "campaign-order-invalid"
    status = 422
    title = "The campaign order is not valid"


class SimulationError(HubError):
    """A simulation's table, schema and options do not fit together."""

    code = "simulation-invalid"
    status = 422
    title = "The simulation cannot be run"


class SynthesisError(HubError):
    """Synthetic merchants cannot be written as asked."""

    code = "synthesis-invalid"
    status = 422
    title = "The synthetic data cannot be written"
