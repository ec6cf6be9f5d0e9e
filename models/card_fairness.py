"""A model card's words on groups of merchants, and on merchants without an outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from models.card_content import Block, CardFacts, Facts, Section, Table, Text
from models.card_voice import Voice, percent, percents, ratio, whole
from models.evaluation import Interval
from models.evaluation_result import EvaluationResult, GroupResult
from models.parity import Finding, parity_of
from models.unlabelled import Unlabelled, unlabelled_of

FINDINGS: dict[Finding, str] = {
    "reference": "reference group",
    "alike": "not below four fifths",
    "unclear": "unclear",
    "adverse": "below four fifths",
    "unknown": "nothing to be said",
}
"""Finding → message id."""
_TIMES = (1.0, 2.0, 4.0)


def fairness_section(say: Voice, result: EvaluationResult) -> Section | None:
    """Are groups treated alike? None where the evaluation has no groups."""
    if not result.groups:
        return None
    blocks: list[Block] = [
        Text(
            say(
                "A group's share of approvals over that of the group most often approved is its adverse impact ratio. "
                "Where its whole interval lies below four fifths, a reason is needed; where it does not lie on one "
                "side, the counts are too few or too noisy to tell. Approved is a predicted probability below "
                "{cutoff}.",
                cutoff=percent(result.approval_pd, 0),
            )
        )
    ]
    adverse: list[str] = []
    for name, groups in sorted(result.groups.items()):
        blocks.append(_impact(say, name, groups))
        adverse += [each.group for each in parity_of(groups) if each.finding == "adverse"]
    blocks.append(
        Text(say("Below four fifths: {groups}.", groups=say.listed(adverse)), strong=True)
        if adverse
        else Text(say("No group is shown to be below four fifths."), strong=True)
    )
    blocks.append(
        Text(
            say(
                "Observed less predicted above 0 means that a group defaults more often than the model says, below 0 "
                "that it is judged too harshly. A lower approval with observed as predicted comes from higher risk, "
                "not from the model; whether it is acceptable is for persons to decide."
            )
        )
    )
    return Section("fairness", say("Groups of merchants"), tuple(blocks), level=3)


def unlabelled_section(say: Voice, facts: CardFacts) -> Section:
    """What is known of merchants without an outcome, and what is done about them."""
    blocks: list[Block] = [
        Text(
            say(
                "Trained on were customers of banks in the programme who consented to training. Whoever no bank ever "
                "accepted has no outcome and is not among them: to score such merchants is to extrapolate."
            )
        ),
        Text(
            say(
                "No reject inference is done: no outcome is made up for anyone, by augmentation or otherwise. "
                "Merchants of the cohort without an outcome yet count as not defaulted."
            )
        ),
    ]
    found = None
    if facts.table is not None and facts.evaluation is not None:
        found = unlabelled_of(facts.table, facts.evaluation)
    if found is None:
        blocks.append(
            Text(
                say(
                    "How many have no outcome is not opened; a private evaluation with enough merchants would give an "
                    "estimate."
                )
            )
        )
    else:
        blocks += _bounds(say, found)
    return Section("unlabelled", say("Merchants without an outcome"), tuple(blocks))


def _impact(say: Voice, name: str, groups: Sequence[GroupResult]) -> Table:
    rows = tuple(
        (
            each.group,
            "–" if each.impact is None else f"{each.impact.value:.2f} ({each.impact.low:.2f} – {each.impact.high:.2f})",
            say(FINDINGS[each.finding]),
            _points(say, each.pd_difference),
            "–" if each.auc_difference is None else _signed(each.auc_difference),
            _points(say, each.surplus),
        )
        for each in parity_of(groups)
    )
    columns = (
        say("Group"),
        say("Adverse impact ratio"),
        say("Finding"),
        say("Difference of mean probability"),
        say("Difference of AUC"),
        say("Observed less predicted"),
    )
    return Table(columns, rows, numeric=1, caption=say.named("Parity", say(name)))


def _bounds(say: Voice, found: Unlabelled) -> list[Block]:
    facts = Facts(
        (
            (
                say("Share of defaults, all counted"),
                f"{percent(found.stated.value)} ({percents(found.stated)})",
            ),
            (
                say("Share of defaults among held-out merchants with an outcome"),
                f"{percent(found.labelled_rate.value)} ({percents(found.labelled_rate)})",
            ),
            (
                say("Estimated merchants without an outcome"),
                say(
                    "{count} ({low} – {high}) of {cohort}",
                    count=whole(found.share.value * found.cohort),
                    low=whole(found.share.low * found.cohort),
                    high=whole(found.share.high * found.cohort),
                    cohort=whole(found.cohort),
                ),
            ),
        )
    )
    most = replace(found, share=Interval(found.share.high, found.share.low, found.share.high))
    rows = [(say("none of them"), percent(found.stated.value), percent(most.stated.value))]
    for times in _TIMES:
        text = "as often as the others (missing at random)" if times == 1 else "{times} times as often"
        rows.append((say(text, times=f"{times:g}"), percent(found.rate_if(times)), percent(most.rate_if(times))))
    rows.append((say("all of them"), percent(found.worst), percent(most.worst)))
    columns = (
        say("If merchants without an outcome default"),
        say("Share of defaults in the whole cohort"),
        say("The same, if as many have none as the interval allows"),
    )
    return [
        Text(
            say(
                "The estimate takes held-out merchants with consent to scores as like the cohort. The first and the "
                "last line bound what is possible; the model's probabilities are on the scale of the first."
            )
        ),
        facts,
        Table(columns, tuple(rows), numeric=1, caption=say("What their outcomes could be")),
    ]


def _points(say: Voice, of: Interval | None) -> str:
    """A difference of shares in percentage points."""
    if of is None:
        return "–"
    value, low, high = (ratio(100 * each, 1) for each in (of.value, of.low, of.high))
    return say("{value} pp ({low} – {high})", value=value, low=low, high=high)


def _signed(of: Interval) -> str:
    return f"{ratio(of.value, 3)} ({ratio(of.low, 3)} – {ratio(of.high, 3)})"
