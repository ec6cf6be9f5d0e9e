"""`python -m tests.fuzz [--seconds N] [--seed N] [--only NAME …] [--out DIR]`: each target in a process of its own.

Corpora grow under out/fuzz/corpus and are used again. A finding is kept under out/fuzz/findings: once it is mended, the
input belongs into tests/fuzz/findings/TARGET/, where the unit tests replay it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

import atheris
import psutil

with atheris.instrument_imports(include=["crypto", "models", "nodes", "hub", "yaml", "joserfc", "msgpack", "rfc8785"]):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.mutation import mutate_json

INPUT_SECONDS = 30
"""Of one input; beyond that it is a hang. Seconds of the wall: a busy machine may hold a process for ten of them."""
GROWTH_MB = 512
"""Memory that a target may take beyond what the process holds once everything is loaded."""
FOUND = 77
KINDS = {FOUND: "an error that is none of ours", 70: "a hang", 71: "too much memory"}
"""libFuzzer's exit codes."""


def words(seeds: list[bytes]) -> list[bytes]:
    """Words of the seeds for libFuzzer's dictionary: names and texts of JSON and YAML, separators, numbers on edges."""
    found = {each for seed in seeds for each in re.findall(rb'"[^"\\]{1,40}"|[a-z_]{3,30}:', seed)}
    edges = (b"null", b"true", b"-1", b"1e400", b"9007199254740993", b"18446744073709551616")
    times = (b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59-14:00", b"2026-01-31", b"2026-01-31T08:00:00")
    return sorted(found | {*edges, *times, b"\\ud800", b"{}", b"[]", b"[[[[[[[[", b'{"a":'})


def prepare(name: str, base: Path) -> tuple[Path, Path]:
    """Write a target's seeds and words; returns corpus and dictionary."""
    corpus, listed = base / "corpus" / name, base / f"{name}.dict"
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = list(TARGETS[name].seeds())
    for seed in seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in words(seeds))
    listed.write_text("".join(f'"{word}"\n' for word in escaped))
    return corpus, listed


def fuzz(name: str, seconds: int, base: Path, seed: int) -> bool:
    """Fuzz one target; says what came of it, and returns whether nothing was found."""
    findings, log, began = base / "findings" / name, base / f"{name}.log", time.monotonic()
    findings.mkdir(parents=True, exist_ok=True)
    limit = (psutil.Process().memory_info().rss >> 20) + GROWTH_MB
    options = [
        *(f"-max_total_time={seconds}", f"-timeout={INPUT_SECONDS}", f"-rss_limit_mb={limit}"),
        *(f"-max_len={TARGETS[name].max_len}", f"-artifact_prefix={findings}/", "-print_final_stats=1"),
        f"-seed={seed}",
    ]
    process = os.fork()  # everything is loaded and instrumented once for all targets
    if process == 0:
        _run(name, options, base)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    said = log.read_text(errors="replace")
    numbers = {key: re.findall(rf"stat::{key}:\s+(\d+)", said) for key in ("number_of_executed_units", "peak_rss_mb")}
    runs, peak = (int(each[-1]) if each else 0 for each in numbers.values())
    covered = re.findall(r" cov: (\d+)", said)
    line = f"{name:13} {runs:>10,} inputs  {covered[-1] if covered else '?':>6} edges  {peak:>5} MB"
    print(f"{line}  {time.monotonic() - began:4.0f} s", flush=True)
    if code == 0 and runs:
        return True
    print(f"  found {KINDS.get(code, f'exit code {code}')}: {findings}/, {log}", flush=True)
    print("\n".join(f"  | {each}" for each in said.splitlines()[-25:]), flush=True)
    return False


def _mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Every other change is one of JSON where there is such."""
    changed = mutate_json(data, max_size, seed) if seed % 2 else None
    return atheris.Mutate(data, max_size) if changed is None else changed


def _run(name: str, options: list[str], base: Path) -> NoReturn:
    """In the new process: libFuzzer never comes back."""
    file = os.open(base / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    findings = base / "findings" / name
    # Not before: threads of a library, which the seeds may start, would not be here.
    corpus, listed = prepare(name, base)

    def take(data: bytes) -> None:
        try:
            TARGETS[name].accepts(data)
        except BaseException:
            # Kept here: what libFuzzer does when Python ends depends on threads that a library may have started.
            (findings / f"crash-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(FOUND)

    atheris.Setup([name, *options, f"-dict={listed}", str(corpus)], take, custom_mutator=_mutate)
    atheris.Fuzz()
    os._exit(1)


def main() -> int:
    """Fuzz; 1 where anything was found."""
    asked = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    asked.add_argument("--seconds", type=int, default=5, help="for each target (5)")
    asked.add_argument("--seed", type=int, default=0, help="of the changes; another one each time unless it is given")
    asked.add_argument("--only", nargs="+", choices=sorted(TARGETS), default=list(TARGETS), metavar="TARGET")
    asked.add_argument("--out", type=Path, default=Path("out/fuzz"))
    given = asked.parse_args()
    os.environ.setdefault("PYTHONHASHSEED", "0")
    found = [name for name in given.only if not fuzz(name, given.seconds, given.out, given.seed)]
    print(f"{len(given.only) - len(found)} of {len(given.only)} targets without a finding")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
