"""Why nodes refuse, in words for the operator: by the code of a node's signed refusal, what it means and what to do.

A code that stands in no row is shown as it is, with the advice to read the node's own log.
"""

from __future__ import annotations

from dataclasses import dataclass

_KEYS = "Read the node's own log; it names the check that failed. The campaign goes on without this node if it can."


@dataclass(frozen=True)
class Reason:
    """Texts are message ids of the hub's catalogue."""

    title: str
    remedy: str


UNKNOWN = Reason("The node refused", "Read the node's own log: it says more than may leave the node.")
REASONS: dict[str, Reason] = {
    "not connected": Reason("The node was not connected", "Start its agent, or check its network; then order again."),
    "not approved by the witness": Reason(
        "The witness has not approved the node", "Ask the witness's owner to approve it by name."
    ),
    "no reply in time": Reason(
        "The node did not answer in time",
        "Check its machine and network; if it works but is slow, raise campaigns.trip_timeout_s in hub.yaml.",
    ),
    "failed": Reason("The node failed", "Read the node's own log, mend the cause, and order again."),
    "an unreadable reply": Reason(
        "The node's reply could not be read", "Check that hub and node run the same version of the software."
    ),
    "budget-exceeded": Reason(
        "The node's privacy budget does not allow it",
        "Order with a smaller epsilon, or ask the node's owner whether the limit is to be raised.",
    ),
    "yearly-budget-exceeded": Reason(
        "The yearly budget for programme statistics does not allow it",
        "Wait until the time that the node names, or order fewer cells or a smaller epsilon.",
    ),
    "schema-unknown": Reason(
        "The node has no table under this schema", "Have its owner add the campaign's schema file to node.yaml."
    ),
    "source-not-consented": Reason(
        "Merchants in the slice have not consented to this",
        "Wait until the node has stored its feed, then order again; if it persists, ask for `digua-hub doctor`.",
    ),
    "terms-expired": Reason("The terms had expired", "Check the clocks of hub and node, then order again."),
    "t-collude-too-small": Reason(
        "The node asks for protection against more colluding nodes", "Raise t_collude in the campaign file."
    ),
    "noise-off-refused": Reason(
        "The node refuses campaigns without noise",
        "Order with `noise: on`; `off` is for synthetic data, and the node's owner has to allow it.",
    ),
    "holdout-changed": Reason(
        "The terms hold out other merchants than before", "Start a new campaign; do not change one that runs."
    ),
    "privacy-changed": Reason(
        "A later stage stated other privacy than the first", "Start a new campaign; do not change one that runs."
    ),
    "encoder-unknown": Reason("The node does not hold the encoder", "Start the campaign anew, with its encoder stage."),
    "encoder-not-released": Reason(
        "The witness has not released the encoder", "Ask the witness's owner; the release has to come first."
    ),
    "bins-not-released": Reason(
        "The witness has not released the bins", "Ask the witness's owner; the release has to come first."
    ),
    "model-not-released": Reason(
        "The witness has not released the model", "Ask the witness's owner; the release has to come first."
    ),
    "merchant-not-customer": Reason(
        "The node does not know a merchant of the slice", "Have the node's owner check its data against its consents."
    ),
    "feed-stale": Reason("The node's feed is too old", "Check its link to the hub; it catches up by itself."),
    "source-failed": Reason(
        "The node could not read its data", "Have its owner check the source that node.yaml names."
    ),
    "source-invalid": Reason("The node's data do not fit", "Have its owner run `digua-node check-data`."),
    "data-invalid": Reason("The node's data do not fit", "Have its owner run `digua-node check-data`."),
    "wrong-role": Reason("The step is not for this party", "Check the kinds of the enrolled parties."),
    "signature-invalid": Reason("A signature did not verify", _KEYS),
    "manifest-invalid": Reason("The node does not accept the manifest", _KEYS),
    "exchange-invalid": Reason("What another node sent was not what the slice implies", _KEYS),
    "attempt-state": Reason("The attempt is in another state at the node", _KEYS),
    "internal-error": Reason("The node failed", "Read the node's own log, mend the cause, and order again."),
    "party-not-approved": Reason(
        "The witness has not approved the node", "Ask the witness's owner to approve it by name."
    ),
}


def reason_of(told: str) -> tuple[Reason, str, str]:
    """Return what a stored reason (`code`, or `code: detail`) means, its code and its detail."""
    if told in REASONS:
        return REASONS[told], told, ""
    code, _, detail = told.partition(":")
    return REASONS.get(code, UNKNOWN), code, detail.strip()
