"""Refusals of models, their releases and their impact assessments; part of the one tree of `hub.errors`."""

from __future__ import annotations

from hub.errors import HubError


class AssessmentError(HubError):
    """An impact assessment contradicts what is registered, or is not what it is said to be."""

    code = "assessment-refused"
    status = 422
    title = "The impact assessment is refused"


class AssessmentMissingError(HubError):
    """A model has no impact assessment that lets it out."""

    code = "assessment-missing"
    status = 409
    title = "The model has no impact assessment that lets it out"


class ModelStateError(HubError):
    """A model cannot be released or withdrawn in its state."""

    code = "model-state"
    status = 409
    title = "The model's state does not allow this"


class ApprovalPendingError(HubError):
    """The release waits for the word of the witness's owner."""

    code = "approval-pending"
    status = 409
    title = "The release waits for the witness's owner"


class ApprovalRefusedError(HubError):
    """The witness's owner refused to let the model out."""

    code = "approval-refused"
    status = 409
    title = "The witness's owner refused the model"


class ModelNotReleasedError(HubError):
    """A model has no release by the witness."""

    code = "model-not-released"
    status = 409
    title = "The model is not released"


class ModelRolledBackError(HubError):
    """Another version of the model's line is used instead."""

    code = "model-rolled-back"
    status = 409
    title = "The model was rolled back"


class ReleaseError(HubError):
    """The witness signed something else than what was proposed about a model."""

    code = "release-mismatch"
    status = 502
    title = "The witness's signature is not over this model's release"
