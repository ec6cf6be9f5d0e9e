"""NVIDIA FLARE: vertical XGBoost in its simulator, one site each for bank, tax bureau and utility, on the raw columns.

FLARE's secure mode needs a shared library (`libcuda_paillier.so` or `libnvflare.so`) that its wheel does not hold. With
`secure=True` and no such library the job ended without an error, and the broadcasts of gradients that were looked at in
its log say `has_encrypted_gh=None`. So the plain mode is measured; the label owner's gradients travel in the clear
there, and there is no noise.
"""

from __future__ import annotations

import json
import resource
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.rivals.environment import one_thread, python_with
from benchmarks.rivals.rows import Rows

REQUIREMENTS = ("nvflare==2.9.0", "xgboost==3.2.0", "tensorboard==2.21.0")
ROUNDS, DEPTH, RATE = 50, 4, 0.2
_PROGRAM = Path(__file__).parent / "programs" / "nvflare_job.py"


def run(rows: Rows, *, rounds: int = ROUNDS) -> dict[str, Any]:
    """Trains so many trees over three sites.

    Raises:
        NotInstalledError: `nvflare` cannot be installed.
    """
    python = python_with("nvflare", REQUIREMENTS)
    with tempfile.TemporaryDirectory(prefix="digua-flare-") as scratch:
        command = [str(python), str(_PROGRAM), "--sites", str(rows.folder / "sites"), "--out", scratch]
        command += ["--rounds", str(rounds), "--depth", str(DEPTH), "--rate", str(RATE)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with (rows.folder / "flare.log").open("w", encoding="utf-8") as log:
            subprocess.run(command, check=True, env=one_thread(), cwd=scratch, stdout=log, stderr=log)  # noqa: S603
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        report = json.loads((Path(scratch) / "report.json").read_text(encoding="utf-8"))
    return {
        "version": report["version"],
        "xgboost": report["xgboost"],
        "rows": int(rows.train.sum()),
        "rounds": rounds,
        "seconds_per_round": round(report["seconds_per_round"], 3),
        "seconds": round(report["seconds_per_round"] * rounds, 1),
        "job_seconds": round(report["job_seconds"], 1),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "auc": round(report["auc"], 4),
        "encryption": ", ".join(report["plugins"]) or "none: the wheel holds no encryption plugin",
    }
