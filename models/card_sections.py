"""The other parts of a model card: what it is, for what, of which data, what is not claimed, how to verify it."""

from __future__ import annotations

from models.artefact import ModelArtefact
from models.card_content import Assessment, Bullets, CardFacts, Commands, Facts, Release, Section, Table, Text
from models.card_voice import Voice, whole
from models.reasons import MAX_REASONS
from models.schema import Schema

_UNLABELLED = (
    "Merchants without an outcome yet count as not defaulted, and are assumed to be as others are: where they are a "
    "tenth of the cohort, true probabilities are about a tenth above those stated. Their order hardly changes."
)
STATE_NAMES = {
    "registered": "not released",
    "evaluation": "for evaluation",
    "release": "released",
    "rolled-back": "rolled back",
    "withdrawn": "withdrawn",
}
DIRECTIONS = {"increasing": "must rise", "decreasing": "must fall", None: "free"}
"""How risk goes along a feature's bins, as its schema declares."""
CONCLUSIONS = {
    "acceptable": "acceptable",
    "acceptable-with-measures": "acceptable with the measures that the report names",
    "not-acceptable": "not acceptable",
}
STATES = {
    "registered": "registered, not released: nobody can use it",
    "evaluation": "released for evaluation on held-out merchants only",
    "release": "released for scoring",
    "rolled-back": "rolled back: nodes answer with another version instead",
    "withdrawn": "withdrawn: nodes no longer answer with it",
}


def state_of(say: Voice, release: Release) -> str:
    """Where it stands, in words."""
    state = say(STATES[release.status])
    return f"{state} ({say('waiting for the regulator')})" if release.waiting else state


def model_section(say: Voice, facts: CardFacts, schema: Schema) -> Section:
    """What it is."""
    artefact = facts.artefact
    items = [
        (say("Type"), say(artefact.model_type)),
        (say("Predicted outcome"), schema.label.title.text(say.lang)),
        (
            say("Outcome within"),
            say("{months} months after {day}", months=schema.label.performance_months, day=schema.as_of.isoformat()),
        ),
        (say("Training merchants"), whole(artefact.cohort_size)),
        (say("Stages"), say.listed([say(stage) for stage in artefact.privacy.stages])),
        (say("Schema"), f"{schema.name} (sha256 {artefact.schema_sha256[:16]}…)"),
        (say("Created"), artefact.created.isoformat()),
        (say("Model id"), artefact.model_id),
    ]
    if facts.release is not None:
        release = facts.release
        place = f"{release.line}, {say('version {number}', number=release.version)}"
        items.insert(0, (say("Line"), f"{place} ({say('the current one')})" if release.current else place))
        items.insert(1, (say("State"), state_of(say, release)))
    return Section("model", say("Model"), (Facts(tuple(items)),))


def use_section(say: Voice) -> Section:
    """What it may be used for."""
    return Section(
        "use",
        say("Intended use"),
        (
            Text(say("Credit decisions about merchants who consented to scoring; never the only ground of a refusal.")),
            Bullets(
                (
                    say("For lenders: marketing of credit to those who asked for it, risk control, pricing."),
                    say("Not for merchants without consent, nor for other kinds of business than it was trained on."),
                    say("Not for employment or any other decision about persons than credit."),
                    say("A person looks at refusals; whoever is refused is told the reasons and can object."),
                )
            ),
        ),
    )


def data_section(say: Voice, facts: CardFacts, schema: Schema) -> Section:
    """Of which data it is made."""
    training = facts.training
    columns = [say("Source"), say("Data class"), say("Features")]
    rows = []
    for kind in schema.kinds_in_order():
        features = schema.features(kind)
        row = [say.kind(schema, kind), max(feature.spec.class_ for feature in features), str(len(features))]
        if training is not None:
            row += [str(training.nodes.get(kind, 0)), whole(training.members.get(kind, 0))]
        rows.append(tuple(row))
    if training is not None:
        columns += [say("Nodes"), say("Merchants with a record")]
    bound = any(feature.spec.monotone is not None for feature in schema.all_features())
    listed = []
    for feature in schema.all_features():
        title = feature.spec.title.text(say.lang)
        line = [say.kind(schema, feature.kind), title, feature.spec.class_]
        line += [say(DIRECTIONS[feature.spec.monotone])] if bound else []
        listed.append((*line, str(feature.width)))
    heads = [say("Source"), say("Feature"), say("Data class"), *([say("Risk along the bins")] if bound else [])]
    text = say(
        "Every source keeps its rows. Features are cut into bins that the schema fixed before any data were seen, so "
        "the bins are public and tell nothing about anyone. The outcome is known to its own source alone."
    )
    return Section(
        "data",
        say("Data"),
        (
            Text(text),
            Table(tuple(columns), tuple(rows), numeric=2),
            Table((*heads, say("Bins")), tuple(listed), numeric=len(heads), caption=say("Features")),
        ),
    )


def training_section(say: Voice, facts: CardFacts) -> Section:
    """How it was trained."""
    artefact, training = facts.artefact, facts.training
    items = [(say("Campaign"), artefact.campaign)]
    if training is not None:
        items = [(say("Campaign"), f"{training.name} ({artefact.campaign})")]
        items.append((say("Nodes"), str(sum(training.nodes.values()))))
        if training.held_out is not None:
            items.append((say("Held-out merchants"), whole(training.held_out)))
        items.append((say("Attempts"), str(training.attempts)))
        lost = [f"{party} ({code})" for party, code in sorted(training.lost.items())]
        items.append((say("Parties that dropped out"), say.listed(lost) or say("none")))
    method = (
        "Sources counted together, under masks, how often bins occur with each other and with the outcome; only the "
        "sum of all counts with noise was opened, and the scorecard was fitted on it."
        if artefact.scorecard is not None
        else "Nodes of one kind trained it together: each sum of clipped gradients was opened with noise only."
    )
    if artefact.encoders_used:
        used = say.listed([f"{kind}: {model_id}" for kind, model_id in sorted(artefact.encoders_used.items())])
        items.append((say("Encoders used"), used))
    if artefact.earlier:
        counted = say.listed([f"{each.model_id} (× {each.weight:.3g})" for each in artefact.earlier])
        items.append((say("Earlier tables counted in the fit"), counted))
    return Section("training", say("Training"), (Text(say(method)), Facts(tuple(items))))


def assessment_section(say: Voice, assessment: Assessment) -> Section:
    """What its impact assessment found."""
    items = (
        (say("Report"), assessment.title),
        (say("Date"), assessment.date.isoformat()),
        (say("Assessor"), assessment.assessor),
        (say("Conclusion"), say(CONCLUSIONS[assessment.conclusion])),
        (say("Kept until"), assessment.retained_until.isoformat()),
        ("SHA-256", assessment.sha256),
    )
    text = say(
        "Before personal information is used for automated decisions, its effects on those concerned are assessed "
        "(PIPL 55, 56). The witness signs the hash of the report together with the release."
    )
    return Section("assessment", say("Impact assessment"), (Text(text), Facts(items)))


def reasons_section(say: Voice) -> Section:
    """How reasons are formed."""
    text = say(
        "With a score come up to {count} reasons: the features that cost the merchant most points against the best "
        "bin, named without points. The sources take turns, for their points cannot be compared without being shown.",
        count=MAX_REASONS,
    )
    return Section("reasons", say("Reasons"), (Text(text),))


def limits_section(say: Voice, facts: CardFacts) -> Section:
    """What is not claimed."""
    return Section("limits", say("Limits"), (Bullets(tuple(say(text) for text in limit_texts(facts.artefact))),))


def verify_section(say: Voice, facts: CardFacts) -> Section:
    """Where it stands, and how anyone can verify it."""
    artefact, release = facts.artefact, facts.release
    items = []
    if release is not None:
        items.append((say("State"), state_of(say, release)))
        if release.witness is not None and release.signed_at is not None:
            signed = say("by {witness} at {moment}", witness=release.witness, moment=release.signed_at.isoformat())
            items.append((say("Signed"), signed))
        if release.reason is not None:
            why = say("Why rolled back") if release.status == "rolled-back" else say("Why withdrawn")
            items.append((why, release.reason))
    items.append((say("Model id"), artefact.model_id))
    if artefact.table_digest is not None:
        items.append((say("Digest of the opened table"), artefact.table_digest))
    items.append((say("Hash of the schema"), artefact.schema_sha256))
    text = say(
        "The model's id is the SHA-256 of its file. Before it signs a release, the witness makes the model again from "
        "what the nodes sent and the signed terms; nodes answer with a model under that signature alone. Every step is "
        "in the hub's audit log, which anyone can verify offline from an export:"
    )
    path = f"https://HUB/v1/models/{artefact.model_id}"
    commands = (
        f"curl -s {path} | sha256sum",
        f"curl -s {path}/release",
        "digua-hub audit export --out log.json",
        "digua-hub audit verify log.json",
    )
    return Section("verify", say("Release and verification"), (Facts(tuple(items)), Text(text), Commands(commands)))


def limit_texts(artefact: ModelArtefact) -> list[str]:
    """What is not claimed, as message ids."""
    texts = [
        "Cohort membership itself is not hidden from hub, witness and the merchant's own nodes.",
        "The guarantee assumes that nodes encode and mask their own rows honestly.",
        _UNLABELLED if artefact.scorecard is not None else "Merchants without an outcome yet take no part in training.",
        "A merchant who leaves is not in the next model; this one is not unlearned.",
    ]
    if artefact.scorecard is not None:
        texts[:0] = [
            "Probabilities come from the noisy table by an approximation; compare them with the evaluation before use.",
            "Points carry the noise: bins that hold few merchants may get a few points by chance, in either direction.",
            "Slopes that would give a score a probability below 0.01 % or above 99.99 % are lowered; a table that "
            "shows no association beyond its noise gives no model.",
        ]
        texts.append(
            "Whoever knows that a source has no record of a merchant, or holds a source itself, learns the other "
            "sources' sum of points from a score."
        )
    return texts
