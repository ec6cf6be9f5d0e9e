"""`digua-hub worker`: takes up campaigns and runs each in a process of its own."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from hub import console
from hub.clock import utc_now
from hub.config import load_config
from hub.db import open_database
from hub.errors import StateError
from hub.worker_pulse import BEAT_S, WorkerPulse

ConfigOption = Annotated[Path, typer.Option(help="The hub's configuration. 配置文件。")]
HUB_YAML = Path("hub.yaml")
LATE_S = 6 * BEAT_S
"""A look takes as long as the database does; a worker that took none for so long hangs."""


def worker(
    config: ConfigOption = HUB_YAML,
    leashed: Annotated[bool, typer.Option("--leashed", hidden=True, help="End with standard input.")] = False,
) -> None:
    """Run campaigns until SIGTERM; those under way go on when a worker is back. 训练任务进程。"""
    # The health check of this file's other command imports none of these.
    from hub.campaign_locks import campaign_locks  # noqa: PLC0415
    from hub.services import Hub  # noqa: PLC0415
    from hub.serving import configure_logging  # noqa: PLC0415
    from hub.supervisor import Supervisor, process_command  # noqa: PLC0415

    configure_logging()
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    if leashed:
        threading.Thread(target=_hold_leash, args=(stopping,), name="leash", daemon=True).start()
    loaded = load_config(config)
    configure_logging(loaded.logs)
    hub = Hub.open(loaded)
    try:
        Supervisor(
            hub.campaigns.book,
            campaign_locks(hub.db),
            process_command(loaded.file),
            parallel=loaded.campaigns.parallel,
            beat=WorkerPulse(hub.db, clock=hub.clock).beat,
        ).run(stopping)
    finally:
        hub.close()


def campaign_process(config: ConfigOption = HUB_YAML) -> None:
    """Run the one campaign whose id is read from standard input."""
    from hub.campaign_process import main  # noqa: PLC0415  (Flower is slow to import)
    from hub.serving import configure_logging  # noqa: PLC0415

    configure_logging(load_config(config).logs)
    raise typer.Exit(main(config, sys.stdin))


def worker_health(
    config: ConfigOption = HUB_YAML,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether this machine's worker looks for campaigns; exit code 1 if not. 训练进程健康检查。"""
    db = open_database(load_config(config))
    try:
        age = WorkerPulse(db, clock=utc_now).age()
    finally:
        db.close()
    if age is None or age > LATE_S:
        raise StateError(
            "No worker of this machine has looked for campaigns."
            if age is None
            else f"The worker last looked for campaigns {age} s ago.",
            field="campaigns.worker",
            remedy="Start it with `digua-hub worker`, or read its log; it needs the database.",
        )
    if as_json:
        console.show_json({"pulse_age_s": age})
    else:
        console.show_table("The worker works", ("Name", "Value"), [("pulse_age_s", age)])


def _hold_leash(stopping: threading.Event) -> None:
    sys.stdin.read()
    stopping.set()
