"""What must stay the same in all attempts of a campaign, durable from the first accepted one (docs/protocol.md, 4).

* The hold-out rule. Under another salt or fraction, merchants who were held out of one stage would train another.
* The stated privacy, from stage to stage: ε, δ and mechanisms. Each stage is charged what the terms of its time say of
  all stages; with other terms later, what was accepted first would not be what the campaign costs.
"""

from __future__ import annotations

from pydantic import JsonValue
from sqlalchemy import select

from crypto.canonical import canonical_bytes
from crypto.wire.campaign import PrivacyTerms, Terms
from nodes.errors import PolicyRefusal
from nodes.store import Store
from nodes.tables.campaigns import CampaignHoldoutRow, CampaignPrivacyRow


class CampaignRules:
    """Rules of the campaigns that a node, or the witness, accepted attempts of."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def settle(self, terms: Terms) -> None:
        """T0, T1: record what these terms settle, before they are accepted; one transaction.

        Raises:
            PolicyRefusal: `holdout-changed` or `privacy-changed`: an attempt of this campaign was accepted under
                another hold-out rule, or another stage of it under another privacy.
        """
        stated = canonical_bytes(_stated(terms.privacy)).decode()
        with self._store.session() as session:
            holdout = session.get(CampaignHoldoutRow, terms.campaign_id)
            if holdout is None:
                rule = terms.holdout
                session.add(CampaignHoldoutRow(campaign_id=terms.campaign_id, salt=rule.salt, fraction=rule.fraction))
            elif (holdout.salt, holdout.fraction) != (terms.holdout.salt, terms.holdout.fraction):
                raise PolicyRefusal(
                    "holdout-changed",
                    f"the terms hold out fraction {terms.holdout.fraction:g}; campaign {terms.campaign_id} was "
                    f"accepted with {holdout.fraction:g}, or under another salt",
                    field="holdout",
                    remedy="a campaign has one hold-out rule; start a new campaign",
                )
            others = select(CampaignPrivacyRow.stated).where(
                CampaignPrivacyRow.campaign_id == terms.campaign_id, CampaignPrivacyRow.stage != terms.stage
            )
            if any(each != stated for each in session.scalars(others)):
                raise PolicyRefusal(
                    "privacy-changed",
                    f"another stage of campaign {terms.campaign_id} was accepted with another epsilon, delta, or other "
                    "mechanisms",
                    field="privacy",
                    remedy="the stages of a campaign share one budget; start a new campaign",
                )
            session.merge(CampaignPrivacyRow(campaign_id=terms.campaign_id, stage=terms.stage, stated=stated))


def _stated(privacy: PrivacyTerms) -> dict[str, JsonValue]:
    """What stages must agree in.

    Not the grid of a table's noise: its scale follows from how many nodes are left, and the check of terms composes it
    anew for each attempt. Nor `delta_sum`, which follows from the same number.
    """
    return {
        "epsilon": privacy.epsilon,
        "delta": privacy.delta,
        "noise": privacy.noise,
        "mechanisms": [each.model_dump(mode="json", exclude={"scale"}) for each in privacy.mechanisms],
    }
