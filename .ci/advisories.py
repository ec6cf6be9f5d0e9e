"""`make audit`: known vulnerabilities of what requirements.lock pins, by pip-audit.

pip-audit skips in silence what its advisory service does not know, and then says that nothing is vulnerable. Here a
library that was not looked up is told, loudly, and with `--require` it is a failure.

Exit codes: 0 nothing is known (or could not be looked up, without `--require`), 1 something is vulnerable, 2 wrong
usage, 3 not everything was looked up and `--require` was given.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

VULNERABLE, USAGE, UNKNOWN = 1, 2, 3


def looked_up(lock: Path, service: str) -> tuple[list[dict[str, Any]], str]:
    """What pip-audit says about each library, and why it says nothing where it failed."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--require-hashes"]
    command += ["--disable-pip", "--requirement", str(lock), "--format", "json", "--progress-spinner", "off"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (a list, no shell)
    try:
        return list(json.loads(ended.stdout)["dependencies"]), ""
    except (ValueError, KeyError):
        lines = ended.stderr.strip().splitlines()
        return [], lines[-1] if lines else f"pip-audit ended with {ended.returncode}"


def judge(found: list[dict[str, Any]], failure: str, *, require: bool) -> tuple[int, list[str]]:
    """The exit code and what to say.

    Args:
        found: pip-audit's `dependencies`.
        failure: why there are none.
        require: whether each library must have been looked up.
    """
    said, vulnerable = [], False
    for each in found:
        for known in each.get("vulns") or []:
            vulnerable = True
            mended = ", ".join(known["fix_versions"]) or "no version yet"
            said.append(f"VULNERABLE: {each['name']} {each['version']}: {known['id']}, mended in {mended}")
    skipped = [str(each["name"]) for each in found if "skip_reason" in each]
    if skipped or not found:
        said += [
            "",
            "!" * 100,
            f"NOT AUDITED: {failure or f'{len(skipped)} of {len(found)} libraries are unknown to the service'}",
            "The advisory service cannot be reached from here, or does not answer for these libraries. Nothing is",
            "known about them. Run make audit where it can be reached; ARGS=--require makes this a failure.",
            "!" * 100,
        ]
    else:
        said.append(f"{len(found)} libraries looked up")
    code = VULNERABLE if vulnerable else UNKNOWN if require and (skipped or not found) else 0
    return code, said


def main() -> int:
    """Look up, say, and return the exit code."""
    parser = argparse.ArgumentParser(description="known vulnerabilities of what a lock file pins")
    parser.add_argument("lock", type=Path)
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi")
    parser.add_argument("--require", action="store_true", help="fail where a library could not be looked up")
    chosen = parser.parse_args()
    if not chosen.lock.is_file():
        sys.stderr.write(f"{chosen.lock} is not there: make lock\n")
        return USAGE
    code, said = judge(*looked_up(chosen.lock, chosen.service), require=chosen.require)
    sys.stdout.write("\n".join(said) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
