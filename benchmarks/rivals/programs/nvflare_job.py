"""Vertical XGBoost by NVIDIA FLARE's own recipe and loader, in the environment that has `nvflare`."""

from __future__ import annotations

import argparse
import json
import time
from importlib import metadata
from pathlib import Path

from nvflare.app_opt.xgboost.histogram_based_v2.csv_data_loader import CSVDataLoader
from nvflare.app_opt.xgboost.recipes.vertical import XGBVerticalRecipe
from nvflare.recipe import SimEnv, set_per_site_config
from nvflare.utils.cli_utils import get_package_root
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main() -> None:
    """Run the job; `report.json`, FLARE's log and the models lie in `--out`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--depth", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    chosen = parser.parse_args()
    sites = sorted(site.name for site in chosen.sites.iterdir())
    recipe = XGBVerticalRecipe(
        name="vertical",
        min_clients=len(sites),
        num_rounds=chosen.rounds,
        label_owner=sites[0],
        early_stopping_rounds=chosen.rounds,
        xgb_params={
            "max_depth": chosen.depth,
            "eta": chosen.rate,
            "objective": "binary:logistic",
            "eval_metric": "auc",
            "tree_method": "hist",
            "nthread": 1,
        },
    )
    set_per_site_config(recipe, {site: {"data_loader": CSVDataLoader(str(chosen.sites))} for site in sites})
    began = time.monotonic()
    recipe.execute(SimEnv(clients=sites, workspace_root=str(chosen.out)))
    whole = time.monotonic() - began
    folder = next(chosen.out.glob(f"**/tb_events/{sites[0]}/eval_metrics_auc"))
    events = EventAccumulator(str(folder))
    events.Reload()
    seen = events.Scalars(events.Tags()["scalars"][0])
    if len(seen) != chosen.rounds:
        raise SystemExit(f"FLARE's job gave {len(seen)} rounds of {chosen.rounds}; see its log below {chosen.out}")
    report = {
        "version": metadata.version("nvflare"),
        "xgboost": metadata.version("xgboost"),
        "job_seconds": whole,
        "seconds_per_round": (seen[-1].wall_time - seen[0].wall_time) / (chosen.rounds - 1),
        "auc": seen[-1].value,
        "plugins": sorted(path.name for path in (get_package_root() / "libs").glob("*.so")),
    }
    (chosen.out / "report.json").write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main()
