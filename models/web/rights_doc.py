"""docs/rights.md from the table: `python -m models.web.rights_doc docs/rights.md`; a test compares the two."""

from __future__ import annotations

import sys
from pathlib import Path

from models.web.rights import RIGHTS, ROLES_AT, SITES, Caller, Grant, Role, Site

_HEAD = """\
# Rights

> **中文摘要** 本表列出每一个接口与页面由谁使用：角色（人员）或凭据（机器、商户）。表由程序中的同一份权限表生成，
> 测试逐一核对每个地址 × 每个角色：允许的可用，其余一律拒绝；表中没有的地址，测试不通过。

Made from `models/web/rights.py` by `python -m models.web.rights_doc docs/rights.md`; do not edit it. The same table is
what pages ask at run time; `tests/integration/test_rights_hub.py`, `test_rights_nodes.py` and
`test_rights_platform.py` walk every route of every application for every role and credential: what the table grants
works, all else is refused, and a route that the table does not know fails.

## Who

| who | shows | at |
| --- | --- | --- |
"""
_CALLERS = {
    Caller.ANYONE: "nothing",
    Caller.MERCHANT: "a signature of its key over each request",
    Caller.PARTY: "a signature of its key over each request, checked against the cosigned roster",
    Caller.WITNESS: "the witness's signature, likewise",
    Caller.ADMIN: "the administrator's token (`admin_token_file`)",
    Caller.INTERNAL: "the token of the hub's own processes (`internal_token_file`)",
    Caller.COLLECTOR: "the collector's token (`metrics_token_file`)",
    Caller.GATEWAY: "the gateway's token (`gateway.token_file`)",
    Caller.INVITED: "a one-time token that a person handed over",
    Caller.API_KEY: "a key of the platform's API (`digua-hub platform key-make`)",
}
_SITES: dict[Site, str] = {
    "hub": "The hub",
    "gateway": "The gateway of a node",
    "bank": "Pages of a node",
    "witness": "Pages of the witness",
    "platform": "The Two Small platform",
}


def document() -> str:
    """The whole text."""
    lines = [_HEAD.rstrip("\n")]
    for role in Role:
        places = ", ".join(_SITES[site].lower() for site in SITES if role in ROLES_AT[site])
        lines.append(f"| {role} | a sign-in by passkey, or by password and one-time code | {places} |")
    lines += [f"| {caller} | {shown} | |" for caller, shown in _CALLERS.items()]
    lines += ["", "## What", "", "| right | allows | who |", "| --- | --- | --- |"]
    lines += [f"| `{grant.right}` | {grant.allows} | {_who(grant)} |" for grant in RIGHTS]
    for site in SITES:
        lines += ["", f"## {_SITES[site]}", "", "| endpoint | right | who |", "| --- | --- | --- |"]
        lines += [f"| `{endpoint}` | `{grant.right}` | {_who(grant, site)} |" for endpoint, grant in _endpoints(site)]
    return "\n".join(lines) + "\n"


def _endpoints(site: Site) -> list[tuple[str, Grant]]:
    found = [(endpoint, grant) for grant in RIGHTS for at, endpoint in grant.endpoints if at == site]
    return sorted(found, key=lambda each: (each[0].partition(" ")[2], each[0]))


def _who(grant: Grant, site: Site | None = None) -> str:
    here = grant.who if site is None else {each for each in grant.who if each in ROLES_AT[site] or each in Caller}
    return ", ".join(sorted(here))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document(), encoding="utf-8")
