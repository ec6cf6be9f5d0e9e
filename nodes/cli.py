"""`digua-node`: set up, check and run a party's agent.

Exit codes: 0 done, 1 refused or problems found, 2 wrong usage.
"""

from __future__ import annotations

import typer

from nodes.commands import audit, consent, ledger, merchants, query, witness, witness_models  # noqa: F401  (it adds commands)
from nodes.commands.data import check_data
from nodes.commands.health import health
from nodes.commands.rotate import rotate
from nodes.commands.run import run
from nodes.commands.setup import enrol, init

app = typer.Typer(
    help="digua 地瓜: a party's agent. 机构节点。",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(init)
app.command()(enrol)
app.command()(rotate)
app.command("check-data")(check_data)
app.command()(run)
app.command()(health)
app.add_typer(ledger.app, name="ledger")
app.add_typer(consent.app, name="consent")
app.add_typer(query.app, name="query")
app.add_typer(audit.app, name="audit")
app.add_typer(merchants.app, name="merchants")
app.add_typer(witness.app, name="witness")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
