"""The demo from first key to verified log, step by step, with what each step took."""

from __future__ import annotations

import base64
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from hub.demo import campaigns, people
from hub.demo.data import NODES, Population, populations, write_node_file
from hub.demo.explanations import explain_one
from hub.demo.federation import PLATFORM, WITNESS, Federation
from hub.demo.pages import Door, check_doors
from hub.demo.processes import ProcessGroup
from hub.demo.queries import run_queries
from hub.demo.report import CampaignReport, EvaluationReport, Report, print_summary
from hub.demo.steps import Steps, own_folder
from models.datasets import default_cache
from models.schema_file import load_campaign, load_schema

CROSS, CONSORTIUM = "give-me-some-credit.yaml", "gmsc-bank-consortium.yaml"
CAMPAIGNS = {"consortium": "campaign-bank-consortium.yaml", "cross": "campaign-cross-source.yaml"}
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
_QUERIES = 20


@dataclass
class Demo:
    """One run. `out` is emptied of an earlier run's files first."""

    out: Path
    merchants: int
    stay: bool
    seed: int = 0
    console: Console = field(default_factory=Console)
    report: Report = field(init=False)
    steps: Steps = field(init=False)
    example: dict[str, object] | None = field(init=False, default=None)
    doors: list[Door] = field(init=False, default_factory=list)

    def run(self) -> Report:
        """Run every step; returns the report, which is also in `out/report.json`.

        Raises:
            DemoError, DataError: a step failed.
        """
        started = time.monotonic()
        self.report = Report(merchants=self.merchants)
        self.steps = Steps(self.console, self.report.steps)
        with own_folder(self.out), ProcessGroup(self.out / "logs") as group:
            federation = Federation(self.out, group, CONFIGS)
            self._run_steps(federation)
            self.report.seconds = round(time.monotonic() - started, 1)
            self.report.peak_memory_mib = group.peak_bytes // 2**20
            self.report.url = federation.url
            self.report.write(self.out / "report.json")
            print_summary(self.console, self.report, self.example)
            if self.stay:
                self._wait_for_interrupt(federation)
        return self.report

    def _run_steps(self, federation: Federation) -> None:
        cross_schema, consortium_schema = load_schema(CONFIGS / CROSS), load_schema(CONFIGS / CONSORTIUM)
        with self.steps.step("真实数据 real records, one file a node"):
            cross, consortium = populations(cross_schema, consortium_schema, self.merchants, default_cache(), self.seed)
            datasets = self._write_files(federation, cross, consortium)
        with self.steps.step("枢纽与见证方 hub and witness"):
            federation.start_hub()
            federation.register_notices()
            federation.start_witness()
        with self.steps.step("密钥与登记 keys, enrolment, approval by name"):
            federation.make_nodes(datasets)
            federation.approve([node.party_id for node in (*NODES, PLATFORM)])
        with self.steps.step("假名 nodes start and pseudonymise their identifiers"):
            federation.run_nodes()
            pseudonyms = people.pseudonymise(federation, [cross, consortium])
        merchants = people.merchants_of(cross, pseudonyms)
        members = people.merchants_of(consortium, pseudonyms)
        with self.steps.counted("商户密钥 merchants' keys (synthetic)", len(merchants) + len(members)) as tick:
            people.enrol_keys(federation, [*merchants, *members], tick)
        plans = [*people.plans_of(merchants, recipients=True), *people.plans_of(members, recipients=False)]
        with self.steps.counted("同意书 consents, each signed (synthetic)", len(plans)) as tick:
            signed = people.submit_consents(federation, plans, tick)
            people.write_wallet(signed, self.out / "consents.csv")
        for name, population in (("consortium", consortium), ("cross", cross)):
            self._campaign(federation, name, population, pseudonyms, signed)
        with self.steps.step("查询 queries: consented, unconsented, revoked"):
            queries = run_queries(federation, signed, _QUERIES)
            self.report.answered, self.report.refused = queries.answered, dict(queries.refused)
            self.report.revoked_refused = queries.revoked_refused
            self.report.revocation_seconds = queries.revocation_seconds
            self.example = queries.example
        with self.steps.step("评分说明 a merchant at the counters of its sources"):
            self.report.explained = explain_one(federation, queries)
        with self.steps.step("离线验证 offline verification by the regulator"):
            self._verify(federation)
        with self.steps.step("页面 pages for regulator, bank, operator, merchant"):
            self.doors = federation.doors()
            self.report.pages = check_doors(self.doors)

    def _write_files(
        self, federation: Federation, cross: Population, consortium: Population
    ) -> dict[str, dict[str, Path]]:
        files: dict[str, dict[str, Path]] = {}
        for node in NODES:
            folder = federation.folder(node.party_id)
            files[node.party_id] = {CROSS: folder / "cross-source.csv"}
            write_node_file(cross, node, folder / "cross-source.csv")
            if node.kind in consortium.schema.kinds:
                files[node.party_id][CONSORTIUM] = folder / "consortium.csv"
                write_node_file(consortium, node, folder / "consortium.csv")
        return files

    def _campaign(
        self,
        federation: Federation,
        name: str,
        population: Population,
        pseudonyms: dict[str, bytes],
        signed: list[people.Signed],
    ) -> None:
        file, _ = load_campaign(CONFIGS / CAMPAIGNS[name])
        title = {"consortium": "银行联盟 bank consortium", "cross": "跨机构评分卡 cross-source"}[name]
        with self.steps.step(f"{title}: {' + '.join(file.stages)}") as show:
            trained = campaigns.run_campaign(federation, CONFIGS / CAMPAIGNS[name], show)
            salt = base64.urlsafe_b64decode(trained.holdout_salt + "=" * (-len(trained.holdout_salt) % 4))
            scorable = people.scorable_by_own_bank(signed)
            found = campaigns.measure(trained, population, pseudonyms, salt, file.holdout, scorable=scorable)
        privacy = trained.artefact.privacy
        self.report.campaigns[name] = CampaignReport(
            trained.campaign_id,
            trained.model_id,
            tuple(file.stages),
            privacy.epsilon,
            privacy.delta,
            found.auc,
            found.ks,
            found.held_out,
            len(population.ids),
            trained.seconds,
            None if trained.evaluation is None else EvaluationReport.of(trained.evaluation, found),
        )
        if name == "cross":
            self.report.auc, self.report.epsilon, self.report.delta = found.auc, privacy.epsilon, privacy.delta

    def _verify(self, federation: Federation) -> None:
        """From the export alone, with the two public keys; then each query at hub and nodes is compared."""
        export = self.out / "log.ndjson"
        federation.hub_command("audit", "export", "--config", str(federation.config("hub")), "--out", str(export))
        keys = ["--hub-key", federation.hub_key, "--witness-key", federation.witness_key]
        verdict = federation.hub_command("audit", "verify", str(export), *keys)
        self.report.log_verified, self.report.log_entries = bool(verdict["ok"]), int(verdict["entries"])

        def reconciled(party_id: str) -> bool:
            journal = self.out / f"{party_id}.journal.ndjson"
            federation.node_command(party_id, "audit", "journal", "export", "--out", str(journal))
            found = federation.hub_command("audit", "reconcile", str(export), str(journal), "--node", party_id)
            return bool(found["ok"])

        with ThreadPoolExecutor(max_workers=2) as pool:
            self.report.queries_reconciled = all(list(pool.map(reconciled, [node.party_id for node in NODES])))

    def _wait_for_interrupt(self, federation: Federation) -> None:
        self.console.print(f"枢纽 hub: {federation.url}/v1/info")
        for door in self.doors:
            self.console.print(f"{door.who}: {door.link}", soft_wrap=True)
        for party_id, gateway in federation.gateways.items():
            self.console.print(f"本地接口 gateway of {party_id}: {gateway.url} (openapi.json; token: {gateway.token})")
        self.console.print(f"见证方 witness: {WITNESS.party_id} · 文件 files: {self.out} · Ctrl-C 结束 ends it")
        federation.group.wait_for_interrupt()
