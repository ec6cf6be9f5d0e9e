"""A model card's words on privacy: the promise, what it means, how it was counted."""

from __future__ import annotations

from models.artefact import CellsEntry, PrivacyEntry
from models.card_content import CardFacts, Facts, Section, Table, Text
from models.card_voice import Voice, factor, whole


def lead(say: Voice, facts: CardFacts) -> str:
    """The first sentence of the card: what training cost each merchant, and what the evaluation of it did."""
    privacy = facts.artefact.privacy
    if privacy.epsilon is None or privacy.delta is None:
        return say("No privacy: this model was made without noise, for synthetic data only.")
    stated = say.named("Privacy", f"ε = {privacy.epsilon:.4g}, δ = {privacy.delta:.4g}")
    training = f"{stated} ({say('per merchant, all stages of training')})"
    if facts.evaluation is None or facts.evaluation.epsilon is None:
        return training
    spent = say("evaluation on other merchants: ε = {epsilon}", epsilon=f"{facts.evaluation.epsilon:.4g}")
    return f"{training}{'；' if say.lang == 'zh' else '; '}{spent}"


def privacy_section(say: Voice, facts: CardFacts) -> Section:
    """What the promise means and how it was reached."""
    privacy = facts.artefact.privacy
    heading = say("Privacy")
    if privacy.epsilon is None or privacy.delta is None or privacy.epsilon_replace_one is None:
        text = say("No noise was added to what this campaign published, so nothing is promised to any merchant.")
        return Section("privacy", heading, (Text(text),))
    meaning = say(
        "Whoever sees all that this campaign published can hardly tell whether a merchant's data were in it: no "
        "conclusion becomes more than e^ε = {factor} times as likely through them, save with probability {delta}.",
        factor=factor(privacy.epsilon),
        delta=f"{privacy.delta:.4g}",
    )
    items = [
        ("ε", f"{privacy.epsilon:.4g} ({say('one merchant replaced by empty rows at every source')})"),
        (say("ε if one merchant is replaced by another"), f"{privacy.epsilon_replace_one:.4g}"),
        ("δ", f"{privacy.delta:.4g}"),
        (say("of which for the shape of the summed noise"), f"{privacy.delta_sum:.2g}"),
        (say("Colluding nodes that the noise allows for"), str(privacy.t_collude)),
        (say("Accountant"), say("privacy loss distributions, pessimistic; all stages composed")),
    ]
    if privacy.mu is not None:
        items.append((say("The same as Gaussian differential privacy"), f"μ = {privacy.mu:.4g}"))
    if privacy.sigma_class is not None and privacy.sigma_pair is not None:
        noise = say(
            "σ = {one} on counts per class, σ = {two} on counts of pairs",
            one=f"{privacy.sigma_class:.2f}",
            two=f"{privacy.sigma_pair:.2f}",
        )
        items.append((say("Noise"), noise))
    ledger = say(
        "Every node writes this cost into a ledger of its own before it sends anything, and refuses work beyond its "
        "owner's budget; the witness keeps one for the whole programme. Fits, model cards and reports that are "
        "computed from what is published cost nothing further."
    )
    return Section("privacy", heading, (Text(meaning), Facts(tuple(items)), _mechanisms(say, privacy), Text(ledger)))


def _mechanisms(say: Voice, privacy: PrivacyEntry) -> Table:
    rows = [
        (
            (
                say("Discrete Gaussian noise on counts"),
                say("{count} counts", count=whole(each.count)),
                f"{each.sigma:.4g}",
            )
            if isinstance(each, CellsEntry)
            else (
                say("Gaussian noise on sums of clipped gradients"),
                say("{count} rounds", count=whole(each.rounds)),
                f"{each.sigma_over_sensitivity:.4g}",
            )
        )
        for each in privacy.mechanisms
    ]
    columns = (say("Mechanism"), say("Touched by one merchant"), say("σ, in what one merchant changes"))
    return Table(columns, tuple(rows), numeric=2, caption=say("What was published with noise"))
