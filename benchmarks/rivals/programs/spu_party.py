"""One party of SS-LR, in the environment that has `spu`: shares its own columns, trains, opens the weights."""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import spu
from spu import libspu
from spu.utils import frontend

OWN = (("bank",), ("tax", "utility"))
SECRET = libspu.Visibility.VIS_SECRET


def send(link: libspu.link.Context, share: libspu.Share, to: int) -> None:
    """A share, piece by piece."""
    link.send(to, bytes(share.meta))
    link.send(to, str(len(share.share_chunks)))
    for chunk in share.share_chunks:
        link.send(to, bytes(chunk))


def receive(link: libspu.link.Context, sender: int) -> libspu.Share:
    """The other side of `send`."""
    share = libspu.Share()
    share.meta = link.recv(sender)
    share.share_chunks = [link.recv(sender) for _ in range(int(link.recv(sender)))]
    return share


def timed(runtime: spu.Runtime, program: libspu.Executable, iterations: int) -> tuple[list[float], list[float]]:
    """Seconds and this process's CPU seconds of every iteration; the weights stay shared between them."""
    seconds, cpu = [], []
    for _ in range(iterations):
        start, worked = time.monotonic(), time.process_time()
        runtime.run(program)
        seconds.append(time.monotonic() - start)
        cpu.append(time.process_time() - worked)
    return seconds, cpu


def main() -> None:
    """Write seconds, CPU seconds and peak memory to `<rank>.json`; party 0 also the opened weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--ports", type=int, nargs=2, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--every-row", action="store_true")
    chosen = parser.parse_args()
    rank, other = chosen.rank, 1 - chosen.rank

    kept = np.load(chosen.rows / "train.npy")
    if chosen.every_row:
        kept[:] = True
    own = np.concatenate([np.load(chosen.rows / f"{kind}.npy")[kept] for kind in OWN[rank]], axis=1)
    values = {f"x{rank}": own.astype(np.float32)}
    if rank == 0:
        values["y"] = np.load(chosen.rows / "outcome.npy")[kept].astype(np.float32)[:, None]
    # Shapes are public: each party needs the other's to compile the same program.
    widths = [sum(np.load(chosen.rows / f"{kind}.npy", mmap_mode="r").shape[1] for kind in kinds) for kinds in OWN]
    rows, columns = int(kept.sum()), sum(widths)
    if rank == 0:
        values["w"] = np.zeros((columns, 1), dtype=np.float32)

    description = libspu.link.Desc()
    for number, port in enumerate(chosen.ports):
        description.add_party(f"party-{number}", f"127.0.0.1:{port}")
    link = libspu.link.create_brpc(description, rank)
    config = libspu.RuntimeConfig(protocol=libspu.ProtocolKind.SEMI2K, field=libspu.FieldType.FM64)
    runtime, io = spu.Runtime(link, config), spu.Io(2, config)

    began = time.monotonic()
    for name, owner in (("x0", 0), ("x1", 1), ("y", 0), ("w", 0)):
        if rank == owner:
            shares = io.make_shares(values[name], SECRET, owner)
            send(link, shares[other], other)
            runtime.set_var(name, shares[rank])
        else:
            runtime.set_var(name, receive(link, owner))
    shared = time.monotonic() - began

    def step(x0: jax.Array, x1: jax.Array, y: jax.Array, w: jax.Array) -> jax.Array:
        x = jnp.concatenate([x0, x1], axis=1)
        return w - (chosen.rate / rows) * (x.T @ (jax.nn.sigmoid(x @ w) - y))

    blank = [np.zeros((rows, width), dtype=np.float32) for width in (*widths, 1)]
    program, _ = frontend.compile(
        frontend.Kind.JAX,
        step,
        [*blank, np.zeros((columns, 1), dtype=np.float32)],
        {},
        ["x0", "x1", "y", "w"],
        [SECRET] * 4,
        lambda _: ["w"],
    )
    del blank
    seconds, cpu = timed(runtime, program, chosen.iterations)

    mine = runtime.get_var("w")
    if rank == 1:
        send(link, mine, 0)
    else:
        np.save(chosen.out / "weights.npy", io.reconstruct([mine, receive(link, 1)]))
    report = {
        "version": spu.__version__,
        "rows": rows,
        "share_seconds": shared,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    (chosen.out / f"{rank}.json").write_text(json.dumps(report), encoding="utf-8")
    link.stop_link()


if __name__ == "__main__":
    main()
