import pytest

from crypto.attempts import NodeAttempt, WitnessAttempt
from crypto.errors import AttemptError

H, OTHER = b"\1" * 32, b"\2" * 32
NODES = ("a", "b", "c")
SEEDS = {node: bytes([i + 10]) * 32 for i, node in enumerate(NODES)}


def hashed(i):
    return bytes([i]) * 32


def witness(phase, sort="tables"):
    state = WitnessAttempt.cosign("c/1", H, NODES, sort=sort)
    if phase == "cosigned":
        return state
    for i, node in enumerate(NODES):
        state = state.accept(node, H, hashed(i))
    if phase == "accepted":
        return state
    if sort == "tables":
        state = state.seed(SEEDS)
    if phase == "seeded":
        return state
    for i, node in enumerate(NODES):
        state = state.receive(node, H, hashed(i))
    return {"complete": lambda: state, "released": lambda: state.release(b"term"), "void": state.void}[phase]()


def node(phase, sort="tables"):
    state = NodeAttempt.accept("c/1", H, matrix_sha256=hashed(7), charge=0.5, witness_key=hashed(8), sort=sort)
    if phase == "accepted":
        return state
    if sort == "tables":
        state = state.exchange(SEEDS["a"], matrix_sha256=hashed(7), rows_sha256=hashed(9))
    if phase == "exchanged":
        return state
    if sort == "tables":
        state = state.count(0)
    state = state.send(b"bytes")
    return {"sent": lambda: state, "released": lambda: state.release(H), "void": lambda: state.void(H)}[phase]()


WITNESS_PHASES = ("cosigned", "accepted", "seeded", "complete", "released", "void")
NODE_PHASES = ("accepted", "exchanged", "sent", "released", "void")


@pytest.mark.parametrize("phase", WITNESS_PHASES)
def test_witness_states_survive_storage(phase):
    state = witness(phase)
    assert state.phase == phase
    assert WitnessAttempt.model_validate_json(state.model_dump_json()) == state


@pytest.mark.parametrize("phase", NODE_PHASES)
def test_node_states_survive_storage(phase):
    state = node(phase)
    assert state.phase == phase
    assert NodeAttempt.model_validate_json(state.model_dump_json()) == state


@pytest.mark.parametrize("phase", WITNESS_PHASES)
def test_a_second_manifest_is_refused_in_every_phase(phase):
    state = witness(phase)
    assert WitnessAttempt.cosign("c/1", H, NODES, recorded=state) is state
    for h, nodes in ((OTHER, NODES), (H, ("a", "b"))):
        with pytest.raises(AttemptError):
            WitnessAttempt.cosign("c/1", h, nodes, recorded=state)
    with pytest.raises(AttemptError):
        WitnessAttempt.cosign("c/2", H, ("a",))


@pytest.mark.parametrize("phase", [p for p in WITNESS_PHASES if p != "complete"])
def test_release_needs_every_receipt_and_no_void(phase):
    with pytest.raises(AttemptError):
        witness(phase).release(b"another term")


def test_a_release_is_one_term_and_final():
    state = witness("released")
    assert state.term == b"term"
    assert state.release(b"term") is state
    with pytest.raises(AttemptError):
        state.void()


def test_a_void_is_final_and_forgets_the_seeds():
    for phase in ("cosigned", "accepted", "seeded", "complete"):
        state = witness(phase).void()
        assert state.phase == "void"
        assert not state.seeds
        assert state.void() is state
        with pytest.raises(AttemptError):
            state.release(b"term")
        with pytest.raises(AttemptError):
            state.seed(SEEDS)


def test_one_missing_receipt_holds_the_release_back():
    state = witness("seeded")
    for i, name in enumerate(NODES[:-1]):
        state = state.receive(name, H, hashed(i))
    assert state.phase == "seeded"
    with pytest.raises(AttemptError):
        state.release(b"term")


@pytest.mark.parametrize(("name", "h"), [("z", H), ("a", OTHER)])
def test_receipts_and_acceptances_of_strangers_or_another_manifest_are_refused(name, h):
    with pytest.raises(AttemptError):
        witness("seeded").receive(name, h, hashed(1))
    with pytest.raises(AttemptError):
        witness("cosigned").accept(name, h, hashed(1))


def test_repeats_change_nothing_and_second_versions_are_refused():
    state = witness("complete")
    assert state.receive("a", H, hashed(0)) is state
    assert state.accept("a", H, hashed(0)) is state
    assert state.seed(SEEDS) is state
    with pytest.raises(AttemptError):
        state.receive("a", H, hashed(99))
    with pytest.raises(AttemptError):
        state.accept("a", H, hashed(99))
    with pytest.raises(AttemptError):
        state.seed({**SEEDS, "a": hashed(99)})
    with pytest.raises(AttemptError):
        witness("accepted").receive("a", H, hashed(0))  # before it had a seed


@pytest.mark.parametrize(
    "seeds", [{"a": hashed(1)}, dict.fromkeys(NODES, hashed(1)), {n: bytes([i]) * 16 for i, n in enumerate(NODES)}]
)
def test_seeds_are_one_per_node_and_differ(seeds):
    with pytest.raises(AttemptError):
        witness("accepted").seed(seeds)
    with pytest.raises(AttemptError):
        witness("cosigned").seed(SEEDS)


def test_sums_need_no_seeds_but_receipts():
    assert witness("complete", "sum").release(b"t").phase == "released"
    with pytest.raises(AttemptError):
        witness("accepted", "sum").release(b"t")
    with pytest.raises(AttemptError):
        witness("accepted", "sum").seed(SEEDS)


def test_encoder_rounds_release_at_once_and_have_no_void():
    run = witness("accepted", "round")
    tried = WitnessAttempt.open_round(run, "c/1/0/0", OTHER)
    assert tried.release(b"t").phase == "released"
    with pytest.raises(AttemptError):
        tried.void()
    for bad in ("c/1", "c/2/0/0", "c/10/0"):
        with pytest.raises(AttemptError):
            WitnessAttempt.open_round(run, bad, OTHER)
    with pytest.raises(AttemptError):
        WitnessAttempt.open_round(witness("cosigned", "round"), "c/1/0/0", OTHER)
    own = NodeAttempt.open_round(node("accepted", "round"), "c/1/0/0", OTHER).send(b"x")
    assert own.charged
    with pytest.raises(AttemptError):
        own.void(H)
    with pytest.raises(AttemptError):
        NodeAttempt.open_round(node("accepted"), "c/1/0/0", OTHER)


def test_a_try_goes_on_with_its_own_parameters_only():
    run, own = witness("accepted", "round"), node("accepted", "round")
    tried, sent = WitnessAttempt.open_round(run, "c/1/0/0", OTHER), NodeAttempt.open_round(own, "c/1/0/0", OTHER)
    assert WitnessAttempt.open_round(run, "c/1/0/0", OTHER, recorded=tried) is tried
    assert NodeAttempt.open_round(own, "c/1/0/0", OTHER, recorded=sent) is sent
    with pytest.raises(AttemptError, match="other parameters"):
        WitnessAttempt.open_round(run, "c/1/0/0", H, recorded=tried)
    with pytest.raises(AttemptError, match="other parameters"):
        NodeAttempt.open_round(own, "c/1/0/0", H, recorded=sent)


def test_a_node_asked_again_repeats_its_bytes_or_refuses():
    state = node("sent")
    assert state.repeat(H) == state.repeat(H) == b"bytes"
    assert len(state.receipt_sha256()) == 32
    with pytest.raises(AttemptError):
        state.repeat(OTHER)
    with pytest.raises(AttemptError):
        state.send(b"fresh noise")
    for phase in ("accepted", "exchanged", "void"):
        with pytest.raises(AttemptError):
            node(phase).repeat(H)


@pytest.mark.parametrize(
    ("seed", "matrix", "rows"),
    [(SEEDS["b"], hashed(7), hashed(9)), (SEEDS["a"], hashed(6), hashed(9)), (SEEDS["a"], hashed(7), hashed(5))],
)
def test_a_seed_masks_one_matrix_once(seed, matrix, rows):
    state = node("exchanged")
    assert state.exchange(SEEDS["a"], matrix_sha256=hashed(7), rows_sha256=hashed(9)) is state
    with pytest.raises(AttemptError):
        state.exchange(seed, matrix_sha256=matrix, rows_sha256=rows)
    with pytest.raises(AttemptError):
        node("sent").exchange(SEEDS["a"], matrix_sha256=hashed(7), rows_sha256=hashed(9))


def test_a_matrix_other_than_the_frozen_one_is_never_masked():
    with pytest.raises(AttemptError):
        node("accepted").exchange(SEEDS["a"], matrix_sha256=hashed(6), rows_sha256=hashed(9))


def test_blocks_are_masked_and_counted_once_each_in_order_and_all_before_the_term():
    mask = {"matrix_sha256": hashed(7)}
    state = NodeAttempt.accept("c/1", H, charge=0.5, witness_key=hashed(8), blocks=3, **mask)
    for block in range(3):
        for other in {0, 1, 2, 3} - {block}:
            with pytest.raises(AttemptError):  # another block's turn, or one again with other rows
                state.exchange(SEEDS["a"], block=other, rows_sha256=hashed(99), **mask)
        with pytest.raises(AttemptError):  # not masked yet
            state.count(block)
        masked = state.exchange(SEEDS["a"], block=block, rows_sha256=hashed(20 + block), **mask)
        assert masked.progress == state.progress + 1
        assert masked.exchange(SEEDS["a"], block=block, rows_sha256=hashed(20 + block), **mask) is masked
        for seed, rows in ((SEEDS["b"], hashed(20 + block)), (SEEDS["a"], hashed(99))):
            with pytest.raises(AttemptError):
                masked.exchange(seed, block=block, rows_sha256=rows, **mask)
        with pytest.raises(AttemptError):  # the next one's rows leave after this one's inbox is counted
            masked.exchange(SEEDS["a"], block=block + 1, rows_sha256=hashed(21 + block), **mask)
        with pytest.raises(AttemptError):  # a block is missing
            masked.send(b"bytes")
        for other in {0, 1, 2, 3} - {block}:
            with pytest.raises(AttemptError):
                masked.count(other)
        state = masked.count(block)
        assert NodeAttempt.model_validate_json(state.model_dump_json()) == state
        with pytest.raises(AttemptError):  # twice
            state.count(block)
        if block < 2:
            with pytest.raises(AttemptError):
                state.send(b"bytes")
            with pytest.raises(AttemptError):  # every block under the seed of the first
                state.exchange(SEEDS["b"], block=block + 1, rows_sha256=hashed(21 + block), **mask)
    assert state.send(b"bytes").phase == "sent"


def test_accepting_again_repeats_or_refuses():
    state = node("exchanged")
    same = {"matrix_sha256": hashed(7), "charge": 0.5, "witness_key": hashed(8)}
    assert NodeAttempt.accept("c/1", H, recorded=state, **same) is state
    for change in ({"matrix_sha256": hashed(1)}, {"charge": 0.1}, {"witness_key": hashed(1)}):
        with pytest.raises(AttemptError):
            NodeAttempt.accept("c/1", H, recorded=state, **{**same, **change})
    with pytest.raises(AttemptError):
        NodeAttempt.accept("c/1", OTHER, recorded=state, **same)


def test_the_charge_stands_from_sending_until_a_void_of_own_manifest():
    assert [node(p).charged for p in NODE_PHASES] == [False, False, True, True, False]
    state = node("sent")
    with pytest.raises(AttemptError):
        state.void(OTHER)
    assert state.void(H).sent is None
    with pytest.raises(AttemptError):
        node("released").void(H)
    with pytest.raises(AttemptError):
        node("void").release(H)
    with pytest.raises(AttemptError):
        node("exchanged").release(H)
    with pytest.raises(AttemptError):
        node("accepted").send(b"rows were never exchanged")


def test_what_could_not_be_loaded_again_is_never_recorded():
    with pytest.raises(AttemptError):
        WitnessAttempt.cosign("c/1", b"short", NODES)
    with pytest.raises(AttemptError):
        witness("cosigned").accept("a", H, b"short")
    with pytest.raises(AttemptError):
        witness("seeded").receive("a", H, b"short")
    with pytest.raises(AttemptError):
        NodeAttempt.accept("c/1", H, matrix_sha256=hashed(7), charge=float("nan"), witness_key=hashed(8))
