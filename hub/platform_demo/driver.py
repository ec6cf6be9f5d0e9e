"""The platform's demo, step by step: a hub, the platform beside it, a world loaded, statistics beside the truth."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from rich.console import Console

from hub.campaign_plan import Progress
from hub.demo.federation import PLATFORM, Federation
from hub.demo.processes import ProcessGroup
from hub.demo.steps import Steps, own_folder
from hub.platform.financing_states import State
from hub.platform.subsidy_rules import SubsidyRule, read_programmes
from hub.platform.world.facts import facts_of_world
from hub.platform.world.generator import World, draw_world
from hub.platform.world.parameters import read_world
from hub.platform_demo.report import SYNTHETIC, PlatformReport, WorldReport, print_report
from hub.platform_demo.site import PlatformSite
from hub.platform_demo.statistics import sources_of
from models.campaign_file import CampaignFile
from models.schema import Schema
from models.schema_file import load_campaign

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
WORLDS = ("headline", "steady", "strained")
CAMPAIGN, RULES = "campaign-programme-statistics.yaml", "subsidies.yaml"
_GRANTS = 5


def loan_rule() -> SubsidyRule:
    """The sample rule of an interest subsidy."""
    return next(each for each in read_programmes(CONFIGS / RULES) if isinstance(each, SubsidyRule))


@dataclass
class PlatformDemo:
    """One run. `out` is emptied of an earlier run's files first.

    Attributes:
        worlds: folder of the worlds' parameters; the first of `names` is loaded into the platform.
    """

    out: Path
    stay: bool
    worlds: Path = CONFIGS / "worlds"
    names: tuple[str, ...] = WORLDS
    console: Console = field(default_factory=Console)
    report: PlatformReport = field(init=False, default_factory=PlatformReport)

    def run(self) -> PlatformReport:
        """Run every step; returns the report, which is also in `out/report.json`.

        Raises:
            DemoError: a step failed.
        """
        started = time.monotonic()
        self.console.print(f"[bold yellow]{SYNTHETIC}[/bold yellow]")
        steps = Steps(self.console, self.report.steps)
        with own_folder(self.out), ProcessGroup(self.out / "logs") as group:
            federation = Federation(self.out, group, CONFIGS, nodes=())
            with steps.step("枢纽、见证方与平台节点 hub, witness, the platform's own node"):
                federation.start_hub()
                federation.start_witness()
                federation.make_nodes({})
                federation.approve([PLATFORM.party_id])
                federation.run_nodes()
            site = PlatformSite(self.out / "two-small", federation)
            self._run_steps(site, steps)
            self.report.seconds = round(time.monotonic() - started, 1)
            self.report.url = site.url
            self.report.write(self.out / "report.json")
            print_report(self.console, self.report)
            if self.stay:
                self._wait_for_interrupt(federation, site)
        return self.report

    def _run_steps(self, site: PlatformSite, steps: Steps) -> None:
        campaign, schema = load_campaign(CONFIGS / CAMPAIGN)
        rule = loan_rule()
        for place, name in enumerate(self.names):
            with steps.step(f"合成世界 synthetic world {name}: 生成 drawn"):
                world = draw_world(read_world(self.worlds / f"{name}.yaml"))
            if place == 0:
                self._platform(site, steps, world)
            self._count(steps, world, rule, campaign, schema, again=place == 0)

    def _platform(self, site: PlatformSite, steps: Steps, world: World) -> None:
        with steps.step("平台 the platform: 新建 made"):
            site.make()
        total, seen = len(world.merchants) + len(world.financings), 0
        started = time.monotonic()
        with steps.counted("载入商户与融资 merchants and financings loaded (synthetic)", total) as tick:

            def show(stage: str, done: int, _of: int) -> None:
                nonlocal seen
                now = done + (len(world.merchants) if stage == "financings" else 0)
                tick(now - seen)
                seen = now

            _, self.report.audit_entries = site.load(world, show)
        self.report.load_seconds = round(time.monotonic() - started, 1)
        self.report.merchants, self.report.financings = len(world.merchants), len(world.financings)
        with steps.step("平台进程 the platform serves"):
            site.serve()
            self.report.products = len(site.get("/v1/products")["products"])
        with steps.step("贴息 interest subsidy: 发放与计提 granted and accrued"):
            self._subsidise(site, world)

    def _subsidise(self, site: PlatformSite, world: World) -> None:
        """Rules published, loans that meet them granted, one accrual, all over HTTP as the programme office."""
        rule = loan_rule()
        site.post("/v1/programmes", {"programmes": [rule.model_dump(mode="json")]})
        path = f"/v1/programmes/{rule.programme}"
        running = (each for each in world.financings if each.state == State.DISBURSED)
        recent = (each for each in running if each.disbursed_on is not None and each.disbursed_on >= rule.since)
        for each in recent:
            if self.report.subsidy_grants == _GRANTS:
                break
            if not site.get(f"{path}/reasons", financing_id=each.financing_id)["reasons"]:
                site.post(f"{path}/grants", {"financing_id": each.financing_id})
                self.report.subsidy_grants += 1
        until = min(world.last_day, date.today())
        self.report.subsidy_fen = int(site.post(f"{path}/accruals", {"until": until.isoformat()})["fen"])

    def _count(
        self,
        steps: Steps,
        world: World,
        rule: SubsidyRule,
        campaign: CampaignFile,
        schema: Schema,
        *,
        again: bool,
    ) -> None:
        """A world's statistics beside its truth; once more in the same year where `again`, which must be refused."""
        name, order = world.parameters.name, campaign.statistics
        baseline = world.parameters.first_year
        year = baseline + 2 if order is None else order.year
        with steps.step(f"政策统计 programme statistics: {name}") as show:

            def told(event: Progress) -> None:
                show(f"{event.step} {event.done}/{event.total}")

            show("各方数据 the sources' tables")
            facts = facts_of_world(world, rule, year=year, baseline=baseline)
            with sources_of(facts, campaign, schema, self.out / "statistics" / name) as sources:
                report = sources.publish(told)
                found = WorldReport.of(
                    name,
                    sources.compare(report),
                    sigma=report.sigma,
                    epsilon=campaign.epsilon,
                    delta=campaign.delta,
                )
                if again:
                    show("同年再次统计 once more in the same year")
                    found.refused = sources.refusal(told)
        self.report.worlds.append(found)

    def _wait_for_interrupt(self, federation: Federation, site: PlatformSite) -> None:
        self.console.print(f"平台 platform: {site.url}/openapi.json · 枢纽 hub: {federation.url}/v1/info")
        self.console.print(f"文件 files: {self.out} · Ctrl-C 结束 ends it")
        federation.group.wait_for_interrupt()
