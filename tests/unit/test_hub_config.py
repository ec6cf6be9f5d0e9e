"""The hub's shipped sample configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hub.config import load_config
from hub.errors import HubConfigError
from hub.sample_config import sample_config


def test_shipped_sample_is_what_init_writes_and_parses() -> None:
    sample = Path(__file__).parents[2] / "configs" / "hub.yaml"
    assert sample.read_text(encoding="utf-8") == sample_config("hub", 8440)
    config = load_config(sample)
    assert (config.hub_id, config.listen.port, config.log.max_entries) == ("hub", 8440, 1000)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"database": "sqlite:///hub.sqlite"}, "not SQLite"),
        ({"campaigns": {"worker": "embedded"}}, "worker: external"),
        ({"internal_url": "http://hub:8440"}, "take internal_url out"),
        ({"replicas": {"lease_s": 1}}, "greater than or equal to 2"),
        ({"replicas": {"address": "hub-2:8440"}}, "should match pattern"),
        ({"replicas": {"leases": 10}}, "leases"),
        (
            {"superlink": {"managed": True, "tls": {"certificate": "a", "key": "b"}}},
            "give superlink.control",
        ),
    ],
)
def test_replicas_are_refused_where_they_cannot_work(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    fields: dict[str, object] = {
        "hub_id": "hub",
        "public_url": "https://hub.example.org",
        "database": "postgresql+psycopg://digua@db/digua",
        "campaigns": {"worker": "external"},
        "replicas": {},
    }
    file = tmp_path / "hub.yaml"
    file.write_text(yaml.safe_dump(fields), encoding="utf-8")
    loaded = load_config(file).replicas
    assert loaded is not None
    assert loaded.lease_s == 10
    file.write_text(yaml.safe_dump(fields | changes), encoding="utf-8")
    with pytest.raises(HubConfigError, match=said):
        load_config(file)


def test_the_hub_of_two_replicas_is_that_of_compose_with_replicas() -> None:
    folder = Path(__file__).parents[2] / "configs" / "compose"
    one = yaml.safe_load((folder / "hub.yaml").read_text(encoding="utf-8"))
    two = yaml.safe_load((folder / "hub-replicas.yaml").read_text(encoding="utf-8"))
    del one["internal_url"]
    assert two == one | {"replicas": two["replicas"]}
    assert load_config(folder / "hub-replicas.yaml").replicas is not None
    services = yaml.safe_load((folder / "replicas.yaml").read_text(encoding="utf-8"))["services"]
    main = yaml.safe_load((folder.parents[1] / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    files = ["./configs/compose/hub-replicas.yaml:/etc/digua/hub.yaml:ro", "hub:/var/lib/digua"]
    for name in ("hub", "hub-2", "worker", "superlink"):
        assert services[name]["volumes"] == files
    for field, value in main["hub"].items():
        if field not in ("volumes", "build"):
            assert services["hub-2"][field] == services["hub"][field] == value, field
    proxy = (folder / "nginx-replicas.conf").read_text(encoding="utf-8")
    assert {f"server {services[name]['hostname']}:8440 max_fails" in proxy for name in ("hub", "hub-2")} == {True}
    alone = (folder / "nginx.conf").read_text(encoding="utf-8").splitlines()
    assert set(alone) - set(proxy.splitlines()) == {"            proxy_pass http://hub:8440;"}
