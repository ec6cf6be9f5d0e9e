"""Whether a campaign's terms can be accepted: checks that node and witness make alike (docs/protocol.md, 3 and 4).

Nothing is taken from the hub's word: keys come from the cosigned roster, bins from the schema under its hash, and the
privacy that the terms claim is computed again from their mechanisms.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from crypto.canonical import canonical_bytes
from crypto.dated import verify_signer
from crypto.errors import ManifestError
from crypto.histogram import histogram_delta
from crypto.jws import verify_model
from crypto.key_line import KeyLine
from crypto.layout import TableLayout
from crypto.table_grid import TableGrid, table_delta, terms_grid, terms_layout
from crypto.wire.campaign import Acceptance, RosterEntry, RoundsMechanism, Stage, TablesMechanism, Terms
from models.accounting import epsilon_of, tables_mechanisms, usable_delta
from models.errors import BudgetError
from models.mechanisms import Adjacency, DiscreteGaussianCells, Mechanism
from models.quantile_bins import count_trees, open_form
from models.schema import Schema, unsettled
from nodes.charges import by_population
from nodes.errors import PolicyRefusal
from nodes.training_context import RosterLookup

_TOLERANCE = 1e-9
_SCORECARD: Stage = "scorecard"
T_COLLUDE_TOO_SMALL = "t-collude-too-small"


@dataclass(frozen=True)
class OwnRules:
    """What an owner asks of every campaign, from its configuration.

    Attributes:
        min_t_collude: colluding nodes that terms must withstand among those whose noise is counted on.
        party_id: the owner's node.
        noise_counts: other nodes whose noise is counted on; all of the roster's where None.
    """

    min_t_collude: int
    insecure_noise_off: bool
    party_id: str = ""
    noise_counts: frozenset[str] | None = None

    def uncounted(self, roster: Iterable[RosterEntry]) -> list[str]:
        """Nodes of a roster whose noise this owner does not count on."""
        if self.noise_counts is None:
            return []
        counted = self.noise_counts | {self.party_id}
        return [entry.party_id for entry in roster if entry.party_id not in counted]


@dataclass(frozen=True)
class CheckedTerms:
    """Terms that were verified, with what follows from them.

    Attributes:
        signer: the hub's key that signed them, one of its line; terms have no date of their own.
    """

    terms: Terms
    payload: bytes
    schema: Schema
    layout: TableLayout
    signer: bytes

    @property
    def roster(self) -> list[tuple[str, str]]:
        """(id, kind) in order."""
        return [(entry.party_id, entry.kind) for entry in self.terms.roster]

    @property
    def grid(self) -> TableGrid:
        """Scales and noise shares of the table."""
        return terms_grid(self.terms)

    def index_of(self, party_id: str) -> int:
        """A party's place in the roster.

        Raises:
            ManifestError: it is not in the roster.
        """
        for index, entry in enumerate(self.terms.roster):
            if entry.party_id == party_id:
                return index
        raise ManifestError(
            f"{party_id} is not in the roster of attempt {self.terms.attempt}",
            field="roster",
            remedy="refuse the attempt; it is not for this node",
        )


def read_terms(token: str, roster: RosterLookup) -> CheckedTerms:
    """T0, T1: the hub's signed terms and what they mean by themselves; `check_terms` says whether to accept.

    Raises:
        SignatureError: not signed by the pinned hub key or one that follows it.
        ManifestError: schema, kinds or attempt contradict each other.
        SchemaError: the schema document is malformed.
    """
    return _read_terms(token, roster.hub_keys, roster.hub_id)


# Every step of an attempt reads the same terms again.
@lru_cache(maxsize=8)
def _read_terms(token: str, hub_keys: KeyLine, hub_id: str) -> CheckedTerms:
    terms, signer = verify_signer(token, hub_keys, Terms, typ="terms", kid=hub_id)
    document = terms.schema_document.encode()
    schema = Schema.from_json(document)
    if hashlib.sha256(document).hexdigest() != terms.schema_sha256 or schema.hash() != terms.schema_sha256:
        raise contradiction("schema_sha256", "the schema document is not the one under its hash")
    if not terms.attempt.startswith(f"{terms.campaign_id}/{terms.stage}/"):
        raise contradiction("attempt", "the attempt's id is not within its campaign and stage")
    if len({entry.party_id for entry in terms.roster}) != len(terms.roster):
        raise contradiction("roster", "a node stands twice in the roster")
    if {entry.kind for entry in terms.roster} != {each.kind for each in terms.kinds}:
        raise contradiction("kinds", "roster and kinds do not match")
    _check_blocks(terms, schema)
    return CheckedTerms(terms, canonical_bytes(terms), schema, terms_layout(terms), signer)


def check_terms(checked: CheckedTerms, roster: RosterLookup, rules: OwnRules, now: datetime) -> None:
    """T0, T1: whether these terms can be accepted at all.

    Raises:
        PolicyRefusal: too late, signed by a key of the hub's that does not hold now, noise off, or
            fewer colluding nodes withstood than the owner asks.
        PeerError: a node that is not in the roster which the witness signed.
        ManifestError: a node's kind or keys, or the witness's, are not those of that roster.
        BudgetError: the mechanisms cost more than the terms claim, or are not those of the table.
    """
    terms = checked.terms
    if now > terms.deadline:
        raise PolicyRefusal("terms-expired", "the terms' deadline has passed", remedy="start a new attempt")
    if not roster.hub_keys.holds(checked.signer, now):
        raise PolicyRefusal(
            "signature-invalid",
            "the terms are signed by a key of the hub's that does not hold now",
            field="terms",
            remedy="start a new attempt; the hub signs it with its present key",
        )
    for entry in terms.roster:
        _check_entry(entry, roster)
    if terms.witness.party_id != roster.witness_id or not roster.witness_keys.holds(terms.witness.sign_key, now):
        raise contradiction("witness", "the terms name another witness than the pinned one")
    _check_collusion(terms, rules)
    if terms.privacy.noise == "off" and not rules.insecure_noise_off:
        raise PolicyRefusal(
            "noise-off-refused",
            "the terms switch noise off",
            field="noise",
            remedy="ask for noise; insecure_noise_off is for synthetic data only",
        )
    if terms.stage == _SCORECARD:
        check_tables_privacy(checked)


def _check_collusion(terms: Terms, rules: OwnRules) -> None:
    """A node whose noise the owner does not count on is one more that might subtract its share."""
    uncounted = rules.uncounted(terms.roster)
    due = rules.min_t_collude + len(uncounted)
    if terms.privacy.t_collude >= due:
        return
    asked = f"the owner asks {due}"
    if uncounted:
        asked += f": {rules.min_t_collude}, and {len(uncounted)} for nodes whose noise it does not count on"
    raise PolicyRefusal(
        T_COLLUDE_TOO_SMALL,
        f"the terms withstand {terms.privacy.t_collude} colluding nodes, {asked}",
        field="min_t_collude",
        remedy="ask for a campaign with a larger t_collude, or of nodes that the owner counts on",
    )


def check_tables_privacy(checked: CheckedTerms) -> None:
    """Computes the privacy of a table anew from σ and the accountant; with it, that of an encoder that it uses.

    Raises:
        BudgetError: the terms' mechanisms are not those of their table, or cost more than they claim.
    """
    terms, privacy, tables = checked.terms, checked.terms.privacy, checked.terms.tables
    if tables is None:
        raise contradiction("tables", "the terms describe no table")
    if privacy.noise == "off":
        if privacy.mechanisms or tables.sigma_class or tables.sigma_pair:
            raise dishonest("terms without noise claim mechanisms")
        return
    if min(tables.sigma_class, tables.sigma_pair) <= 0:
        raise dishonest("terms with noise have a table without it")
    if terms.encoders_used and not any(
        isinstance(each, RoundsMechanism) and each.stage == "encoder" for each in privacy.mechanisms
    ):
        raise dishonest("the terms use an encoder and leave its rounds out of the campaign's mechanisms")
    grid = checked.grid
    due = tables_mechanisms(
        checked.layout.n_features,
        tables.sigma_class,
        tables.sigma_pair,
        class_scale=grid.class_scale,
        pair_scale=grid.pair_scale,
    )
    claimed = tuple(
        DiscreteGaussianCells(each.sigma, each.count, each.scale)
        for each in privacy.mechanisms
        if isinstance(each, TablesMechanism) and each.stage == _SCORECARD
    )
    if claimed != due:
        raise dishonest("the mechanisms of the terms are not those of their table")
    due_delta = table_delta(len(terms.roster), checked.layout.n_cells)
    if terms.bins_attempt is not None:  # the same merchants met that stage's noise
        due_delta += histogram_delta(
            len(terms.roster), sum(tree.nodes for tree in count_trees(open_form(checked.schema)))
        )
    if privacy.delta_sum < due_delta * (1 - _TOLERANCE):
        raise dishonest(f"the terms set aside delta {privacy.delta_sum:g} for noise shares where {due_delta:g} is due")
    check_epsilon(checked)


def check_epsilon(checked: CheckedTerms, *, allowance: float = 0.0) -> None:
    """Composes all mechanisms of the campaign anew and compares with the ε that the terms claim.

    Args:
        checked: the terms.
        allowance: what discrete noise can add to the ε of continuous noise (fourfold under replace-one).

    Raises:
        BudgetError: they cost more.
    """
    privacy = checked.terms.privacy
    usable = usable_delta(privacy.epsilon, privacy.delta, privacy.delta_sum)
    training, evaluation = by_population(privacy.mechanisms)
    adjacencies: list[tuple[Adjacency, float, float]] = [
        ("replaced-by-empty", privacy.epsilon, allowance),
        ("replace-one", privacy.epsilon_replace_one, 4 * allowance),
    ]
    for adjacency, claimed, further in adjacencies:
        # No merchant is in both: the dearer counts, and only rounds of training have an allowance.
        cost = max(_cost(training, usable, adjacency) + further, _cost(evaluation, usable, adjacency))
        if not cost <= claimed * (1 + _TOLERANCE) or not math.isfinite(cost):
            raise dishonest(f"the mechanisms cost epsilon {cost:.6g} under {adjacency}, the terms claim {claimed:.6g}")


def read_acceptances(tokens: list[str], checked: CheckedTerms, h: bytes) -> dict[str, Acceptance]:
    """T1′, T2: every node's signed acceptance of this very manifest, keys all different.

    Returns:
        party id → acceptance, in the order of the roster.

    Raises:
        SignatureError: one is not signed by its node.
        ManifestError: one is missing, of another attempt or manifest, or two nodes have one key.
    """
    terms = checked.terms
    if len(tokens) != len(terms.roster):
        raise contradiction("acceptances", f"{len(tokens)} acceptances for {len(terms.roster)} nodes")
    accepted: dict[str, Acceptance] = {}
    for token, entry in zip(tokens, terms.roster, strict=True):
        acceptance = _read_acceptance(token, entry.sign_key, entry.party_id)
        if (acceptance.party_id, acceptance.attempt, acceptance.h) != (entry.party_id, terms.attempt, h):
            raise contradiction(entry.party_id, f"{entry.party_id} accepted another attempt or manifest")
        accepted[entry.party_id] = acceptance
    if len({each.key for each in accepted.values()}) != len(accepted):
        raise contradiction("acceptances", "two nodes have the same key")
    return accepted


def seed_context(h: bytes, attempt: str, witness: str, node: str) -> dict[str, str]:
    """T1′: what a sealed seed is bound to."""
    return {"step": "seed", "h": h.hex(), "attempt": attempt, "from": witness, "to": node}


# Later steps and every encoder round bring the same acceptances again.
@lru_cache(maxsize=1024)
def _read_acceptance(token: str, sign_key: bytes, party_id: str) -> Acceptance:
    return verify_model(token, sign_key, Acceptance, typ="acceptance", kid=party_id)


@lru_cache(maxsize=64)
def _cost(mechanisms: tuple[Mechanism, ...], delta: float, adjacency: Adjacency) -> float:
    return epsilon_of(mechanisms, delta, adjacency=adjacency)


def _check_blocks(terms: Terms, schema: Schema) -> None:
    """Kinds and widths are the schema's, and one block more where an encoder is used."""
    if tuple(each.kind for each in terms.kinds) != schema.kinds_in_order() and terms.stage in (
        "bins",
        _SCORECARD,
        "statistics",
    ):
        raise contradiction("kinds", "kinds are not those of the schema")
    if terms.evaluation_due and not terms.holdout.fraction > 0:
        raise contradiction("holdout", "an evaluation is due and nobody is held out")
    if (terms.stage == "evaluation") != (terms.evaluation is not None):
        raise contradiction("evaluation", "terms of an evaluation, and only they, describe its histogram")
    if (terms.stage == "statistics") != (terms.statistics is not None):
        raise contradiction("statistics", "terms of statistics, and only they, choose cells")
    if terms.earlier and (terms.stage != _SCORECARD or terms.encoders_used):
        raise contradiction("earlier", "earlier tables are counted in scorecards without an encoder alone")
    _check_bins_stage(terms, schema)
    if terms.label_kind != schema.label.kind or not set(terms.encoders_used) <= set(schema.kinds):
        raise contradiction("label_kind", "label kind or encoders are not of the schema")
    for each in terms.kinds:
        own = schema.widths(each.kind)
        further = 1 if each.kind in terms.encoders_used else 0
        if each.widths[: len(own)] != own or len(each.widths) != len(own) + further:
            raise contradiction("widths", f"widths of kind {each.kind} are not those of the schema")


def _check_bins_stage(terms: Terms, schema: Schema) -> None:
    """Bins are still to come in a bins stage and in no other; who came after one says which it was."""
    if (terms.stage == "bins") != (terms.bins is not None):
        raise contradiction("bins", "terms of a bins stage, and only they, describe its trees of counts")
    if (terms.stage == "bins") != unsettled(schema):
        raise contradiction("schema_document", "bins are still to come from quantiles in a bins stage, and in no other")
    after = any(each.stage == "bins" for each in terms.privacy.mechanisms) and terms.stage != "bins"
    if after and terms.bins_attempt is None:
        raise contradiction("bins_attempt", "the terms pay for bins and do not say which attempt gave them")
    if terms.bins_attempt is not None and (
        terms.stage == "bins" or not terms.bins_attempt.startswith(f"{terms.campaign_id}/bins/")
    ):
        raise contradiction("bins_attempt", "the bins are of no earlier stage of this campaign")


def _check_entry(entry: RosterEntry, roster: RosterLookup) -> None:
    party = roster.party(entry.party_id)
    if (party.kind, party.sign_key, party.box_key) != (entry.kind, entry.sign_key, entry.box_key):
        raise contradiction(entry.party_id, f"kind or keys of {entry.party_id} are not those the witness signed")


def contradiction(field: str, what: str) -> ManifestError:
    """The refusal of terms that contradict themselves, the schema or the roster."""
    return ManifestError(what, field=field, remedy="refuse the attempt; the hub must correct its terms")


def dishonest(what: str) -> BudgetError:
    """The refusal of terms whose privacy is not what they claim."""
    return BudgetError(what, field="privacy", remedy="refuse the attempt; the hub must compute its terms anew")
