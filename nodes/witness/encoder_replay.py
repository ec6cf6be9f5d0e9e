"""An encoder made again from what its rounds opened (docs/protocol.md, 7, W4).

The hub brings, for every round, the exact shares of the try that it counted and the nodes' receipts of them. With its
own terms, which it keeps, the witness opens each round and takes the same steps from the same first parameters. So an
encoder is a function of opened noisy sums alone.

Each node's receipt names the parameters at which it took its gradients, and so does the witness's own record of the
try, whose masks are bound to them. They must be those that the steps before have led to. So a hub that had gradients
taken elsewhere, to steer what the sums say, has no encoder to show for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from crypto.canonical import digest
from crypto.errors import CryptoError, SignatureError
from crypto.jws import verify_model
from crypto.round_grid import terms_rounds
from crypto.secure_sum import open_sum
from crypto.wire.campaign import RoundReceipt
from crypto.wire.link import RoundShares
from models.encoder_spec import EncoderSpec
from models.encoder_start import first_parameters
from models.encoder_step import apply_step, final_parameters, initial_state
from models.errors import DataError
from nodes.errors import PolicyRefusal
from nodes.rounds_check import is_try_of, read_spec
from nodes.terms_check import CheckedTerms
from nodes.witness_attempts import WitnessAttemptStore, WitnessRecord

_FLOOR = 1e-12


def replay_encoder(
    attempts: WitnessAttemptStore,
    run: WitnessRecord,
    checked: CheckedTerms,
    rounds: Sequence[RoundShares],
    start: bytes | None = None,
) -> NDArray[np.float64]:
    """(P,) the parameters that the run's rounds give.

    Args:
        attempts: with this witness's terms.
        run: its record of the run.
        checked: the run's terms.
        rounds: one counted try of each round, in order.
        start: artefact of the model that the run started from, if its terms name one; that it was released is the
            caller's to check.

    Raises:
        PolicyRefusal: `model-not-reproduced`: rounds are missing, a share is not one that its node receipted, this
            witness has no term of a try, or gradients were taken at other parameters than the replayed ones.
    """
    spec = read_spec(checked)
    if len(rounds) != spec.rounds:
        raise not_reproduced(f"{len(rounds)} of the {spec.rounds} rounds were brought", "rounds")
    try:
        parameters, state = first_parameters(spec, checked.schema, start), initial_state(spec)
    except DataError as problem:
        raise not_reproduced(problem.message, "start") from problem
    for each in rounds:
        opened = _open(attempts, run, checked, spec, state.step, each)
        _check_parameters(each, parameters, state.step)
        parameters, state = apply_step(parameters, opened, n_public=checked.terms.cohort_size, spec=spec, state=state)
    return final_parameters(spec, parameters, state)


def same_weights(stated: NDArray[np.float64], due: NDArray[np.float64]) -> bool:
    """Whether weights that an artefact states as float32 are those that were replayed, to one unit in the last place.

    Both sides compute in float64, where other processors and libraries may add up in another order: that moves a
    weight by some 1e-15 of the largest one, which can tip its rounding to float32 and no more. A weight that is all but
    cancelled may differ by as much absolutely, hence the floor. A wider tolerance would leave room to write in.
    """
    if stated.shape != due.shape:
        return False
    a, b = stated.astype(np.float32).astype(np.float64), due.astype(np.float32).astype(np.float64)
    unit = np.spacing(np.maximum(np.abs(a), np.abs(b)).astype(np.float32)).astype(np.float64)
    floor = _FLOOR * float(np.abs(b).max(initial=0.0))
    return bool(np.all(np.abs(a - b) <= np.maximum(unit, floor)))


def _check_parameters(brought: RoundShares, due: NDArray[np.float64], number: int) -> None:
    """Whether a round was run on the replayed parameters, up to another processor's rounding."""
    if len(brought.parameters) != due.nbytes or not same_weights(np.frombuffer(brought.parameters, "<f8"), due):
        raise not_reproduced(
            f"round {number + 1} was run on other parameters than the rounds before it give", "parameters"
        )


def not_reproduced(what: str, field: str) -> PolicyRefusal:
    """The refusal of a model that the witness cannot make again."""
    return PolicyRefusal(
        "model-not-reproduced", what, field=field, remedy="the hub must propose the model exactly as it was trained"
    )


def _open(
    attempts: WitnessAttemptStore,
    run: WitnessRecord,
    checked: CheckedTerms,
    spec: EncoderSpec,
    number: int,
    brought: RoundShares,
) -> NDArray[np.int64]:
    """(P,) the noisy sum of round `number`."""
    attempt, roster = brought.attempt, checked.terms.roster
    name = f"round {number + 1}"
    if not is_try_of(run.state.attempt, attempt) or not attempt.startswith(f"{run.state.attempt}/{number}."):
        raise not_reproduced(f"{attempt} is no try of {name}", "rounds")
    record = attempts.load(attempt)
    if record is None or record.state.h != run.state.h or record.state.term is None:
        raise not_reproduced(f"this witness released no term in {attempt}", "rounds")
    parameters_sha256 = digest(brought.parameters)
    if record.state.parameters_sha256 != parameters_sha256:
        raise not_reproduced(f"this witness released its term of {name} for other parameters", "parameters")
    parties = {entry.party_id for entry in roster}
    if set(brought.shares) != parties or set(brought.receipts) != parties:
        raise not_reproduced(f"the shares of {name} are not those of all nodes of its run", "rounds")
    for entry in roster:
        share = brought.shares[entry.party_id]
        try:
            receipt = verify_model(
                brought.receipts[entry.party_id], entry.sign_key, RoundReceipt, typ="round-receipt", kid=entry.party_id
            )
        except (SignatureError, ValidationError) as problem:
            raise not_reproduced(
                f"{entry.party_id} signed no receipt of its share of {name}", entry.party_id
            ) from problem
        named = (receipt.party_id, receipt.attempt, receipt.h, receipt.sha256)
        if named != (entry.party_id, attempt, run.state.h, digest(share)):
            raise not_reproduced(f"{entry.party_id} receipted another share of {name}", entry.party_id)
        if receipt.parameters_sha256 != parameters_sha256:
            raise not_reproduced(f"{entry.party_id} took its gradients of {name} at other parameters", entry.party_id)
    terms = [np.frombuffer(data, dtype="<u8") for data in (*brought.shares.values(), record.state.term)]
    try:
        if any(term.shape != (spec.n_parameters,) for term in terms):
            raise not_reproduced(f"a share of {name} has another length than the encoder", "rounds")
        return open_sum([term.astype(np.uint64) for term in terms], bound=terms_rounds(checked.terms).bound)
    except CryptoError as problem:
        raise not_reproduced(f"the shares of {name} do not open within their bound", "rounds") from problem
