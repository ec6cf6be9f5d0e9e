"""A node's configuration and key files: closed, relative to the file, and private."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from crypto.errors import KeyFormatError
from crypto.pseudonym import PseudonymKey
from nodes.config import InsecureNoiseOffWarning, NodeConfig, key_from_text, key_to_text, load_node_config
from nodes.errors import ConfigError
from nodes.keys import create_keys, load_keys, read_secret, write_secret

CONFIGS = Path(__file__).parents[2] / "configs"
MINIMAL = """\
party_id: bank-01
kind: bank
region: 上海
hub:
  url: https://hub.example.org
data_dir: data
keys_dir: keys
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "node.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def field_names(model: type[BaseModel]) -> Iterator[str]:
    """Names of all fields as they are written, those of inner models too."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from field_names(kind)


@pytest.mark.parametrize("name", ["node-bank", "node-tax", "client", "witness"])
def test_shipped_samples_load(name: str) -> None:
    config = load_node_config(CONFIGS / f"{name}.yaml")
    assert config.hub.url == "https://hub.example.org"
    assert config.hub.link_url == "wss://hub.example.org/v1/link"
    assert all(dataset.schema_file.is_file() for dataset in config.datasets)
    with pytest.raises(ConfigError, match="not enrolled"):
        config.require_trust()


def test_every_field_is_in_a_sample() -> None:
    text = "".join((CONFIGS / f"{name}.yaml").read_text() for name in ("node-bank", "witness"))
    absent = {name for name in field_names(NodeConfig) if not re.search(rf"^[# -]*([a-z_]+: {{)?{name}:", text, re.M)}
    assert absent == {"insecure_noise_off"}


def test_the_witnesss_sample_says_what_the_programme_may_cost() -> None:
    sample = (CONFIGS / "witness.yaml").read_text()
    assert "\nbudget:\n" in sample
    assert load_node_config(CONFIGS / "witness.yaml").budget.epsilon > 3


def test_only_nodes_that_add_noise_count_on_others(tmp_path: Path) -> None:
    counts = MINIMAL + "noise_counts: [bank-02]\n"
    assert load_node_config(written(tmp_path, counts)).noise_counts == ("bank-02",)
    with pytest.raises(ConfigError, match="adds no noise"):
        load_node_config(written(tmp_path, counts.replace("kind: bank", "kind: witness")))


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = MINIMAL + "datasets:\n  - schema: s.yaml\n    csv: ../t.csv\n"
    config = load_node_config(written(tmp_path, text))
    assert config.data_dir == tmp_path / "data"
    assert config.datasets[0].csv == tmp_path / "../t.csv"
    assert config.datasets[0].schema_file == tmp_path / "s.yaml"


@pytest.mark.parametrize(
    ("change", "line", "what"),
    [
        (("region: 上海", "regoin: 上海"), 3, "regoin: is not a known field"),
        (("https://hub.example.org", "http://hub.example.org"), 5, "hub.url: needs TLS"),
        (("https://hub.example.org", "hub.example.org"), 5, "hub.url: must be an address"),
        (("kind: bank", "kind: hub"), 2, "kind: hub is not"),
        (("party_id: bank-01", "party_id: Bank"), 1, "party_id: "),
        (("data_dir: data", "data_dir: data\nmin_t_collude: 0"), 7, "min_t_collude: "),
        (("data_dir: data", "data_dir: data\nnoise_counts: [Bank]"), 7, "noise_counts.0: "),
        (("data_dir: data", "data_dir: data\nbudget: {epsilon: 0, delta: 1e-5}"), 7, "budget.epsilon: "),
        (("data_dir: data", "data_dir: data\nmax_consent_versions: 4"), 7, "max_consent_versions: "),
    ],
)
def test_mistakes_are_named_with_line_and_field(tmp_path: Path, change: tuple[str, str], line: int, what: str) -> None:
    path = written(tmp_path, MINIMAL.replace(*change))
    with pytest.raises(ConfigError) as caught:
        load_node_config(path)
    assert f"{path}:{line}: {what}" in caught.value.message


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_plain_http_is_for_loopback(tmp_path: Path, host: str) -> None:
    text = MINIMAL.replace("https://hub.example.org", f"http://{host}:8440/")
    assert load_node_config(written(tmp_path, text)).hub.link_url == f"ws://{host}:8440/v1/link"


def test_trust_is_pinned_as_text_and_must_fit_the_witness(tmp_path: Path) -> None:
    key = key_to_text(bytes(range(32)))
    trust = f"trust:\n  hub_id: h\n  hub_sign_key: {key}\n  witness_id: w\n  witness_sign_key: {key}\n"
    config = load_node_config(written(tmp_path, MINIMAL + trust))
    assert config.require_trust().hub_sign_key == bytes(range(32))
    with pytest.raises(ConfigError, match=r"trust\.hub_sign_key: must be a public key"):
        load_node_config(written(tmp_path, MINIMAL + trust.replace(key, key[:-2], 1)))
    with pytest.raises(ConfigError, match=r"trust\.witness_id"):
        load_node_config(written(tmp_path, MINIMAL.replace("kind: bank", "kind: witness") + trust))


def test_data_of_a_witness_or_client_is_refused(tmp_path: Path) -> None:
    text = MINIMAL.replace("kind: bank", "kind: client") + "datasets:\n  - schema: s.yaml\n    csv: t.csv\n"
    with pytest.raises(ConfigError, match="brings no data"):
        load_node_config(written(tmp_path, text))


def test_noise_off_warns(tmp_path: Path) -> None:
    with pytest.warns(InsecureNoiseOffWarning, match="protect nobody"):
        load_node_config(written(tmp_path, MINIMAL + "insecure_noise_off: true\n"))


def test_key_texts_have_one_spelling() -> None:
    key = bytes(range(32))
    assert key_from_text(f" {key_to_text(key)} ") == key
    assert key_from_text(key_to_text(key) + "=") == key
    last = key_to_text(key)[:-1]
    for text in ("", "x" * 43, "é" * 43, key_to_text(key)[:-1], last + "9", key_to_text(key + b"\0")):
        with pytest.raises(ValueError, match=r".*"):
            key_from_text(text)


def test_keys_are_private_and_never_overwritten(tmp_path: Path) -> None:
    keys = create_keys(tmp_path / "keys", kind="witness")
    assert {each.name: stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "keys").iterdir()} == {
        "sign.pem": 0o600,
        "box.pem": 0o600,
        "training.key": 0o600,
        "voprf.seed": 0o600,
    }
    again = load_keys(tmp_path / "keys", kind="witness")
    assert (again.identity.public, again.box.public, again.voprf_seed) == (
        keys.identity.public,
        keys.box.public,
        keys.voprf_seed,
    )
    assert PseudonymKey.from_seed(again.voprf_seed or b"").public
    assert keys.identity.raw.hex() not in repr(keys)
    (tmp_path / "keys" / "sign.pem").unlink()
    with pytest.raises(ConfigError, match="never overwritten"):
        create_keys(tmp_path / "keys", kind="bank")


def test_keys_that_others_may_read_are_refused(tmp_path: Path) -> None:
    create_keys(tmp_path, kind="bank")
    (tmp_path / "box.pem").chmod(0o640)
    with pytest.raises(ConfigError, match="read by others"):
        load_keys(tmp_path, kind="bank")


def test_missing_or_mixed_up_keys_are_refused(tmp_path: Path) -> None:
    create_keys(tmp_path, kind="bank")
    with pytest.raises(ConfigError, match=r"voprf\.seed"):
        load_keys(tmp_path, kind="witness")
    write_secret(tmp_path / "voprf.seed", b"short")
    with pytest.raises(ConfigError, match="not a seed"):
        load_keys(tmp_path, kind="witness")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_secret(tmp_path / "voprf.seed", b"again")
    box = read_secret(tmp_path / "box.pem")
    (tmp_path / "sign.pem").write_bytes(box)
    with pytest.raises(KeyFormatError):
        load_keys(tmp_path, kind="bank")


SQL = """\
datasets:
  - schema: s.yaml
    sql:
      url: postgresql+psycopg://reader@db.example.org/credit
      query: SELECT * FROM merchants
"""


def test_a_table_lies_in_one_of_three_places(tmp_path: Path) -> None:
    rows = load_node_config(written(tmp_path, MINIMAL + "datasets:\n  - {schema: s.yaml, parquet: t.parquet}\n"))
    assert rows.datasets[0].file == tmp_path / "t.parquet"
    query = load_node_config(written(tmp_path, MINIMAL + SQL)).datasets[0]
    assert query.file is None
    assert query.sql is not None
    assert (
        query.sql.address().render_as_string(hide_password=False) == "postgresql+psycopg://reader@db.example.org/credit"
    )
    assert query.sql.refresh_minutes == 60


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    sql:\n", "    csv: t.csv\n    sql:\n", "node.yaml:9: datasets.0: give one of csv, parquet and sql"),
        ("reader@", "reader:hidden@", "node.yaml:11: datasets.0.sql.url: must not hold a password"),
        ("/credit", "/credit?password=hidden", "datasets.0.sql.url: must not hold a password"),
        ("postgresql+psycopg://reader@db.example.org/credit", "the database", "sql.url: must be an address such as"),
        ("      query", "      url_file: u\n      query", "datasets.0.sql: give either url or url_file"),
        ("      query: SELECT * FROM merchants\n", "", "datasets.0.sql.query: is missing"),
        ("      query", "      password: hidden\n      query", "sql.password: is not a known field"),
    ],
)
def test_queries_that_are_not_configured_well(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_node_config(written(tmp_path, MINIMAL + SQL.replace(old, new)))
    assert message in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_passwords_lie_in_files_that_others_cannot_read(tmp_path: Path) -> None:
    with_file = SQL.replace("      query", "      password_file: secrets/pw\n      query")
    sql = load_node_config(written(tmp_path, MINIMAL + with_file)).datasets[0].sql
    assert sql is not None
    with pytest.raises(ConfigError, match="pw"):
        sql.address()
    (tmp_path / "secrets").mkdir()
    write_secret(tmp_path / "secrets" / "pw", b"hid:den/@\n")
    assert sql.address().password == "hid:den/@"
    assert "hid:den" not in f"{sql!r} {sql.address()!r}"
    (tmp_path / "secrets" / "pw").chmod(0o644)
    with pytest.raises(ConfigError, match="pw"):
        sql.address()

    whole = SQL.replace("url: postgresql+psycopg://reader@db.example.org/credit", "url_file: secrets/url")
    sql = load_node_config(written(tmp_path, MINIMAL + whole)).datasets[0].sql
    assert sql is not None
    write_secret(tmp_path / "secrets" / "url", b"sqlite:///rows.db\n")
    assert sql.address().database == str(tmp_path / "secrets" / "rows.db")
    (tmp_path / "secrets" / "url").write_bytes(b"hidden words")
    with pytest.raises(ConfigError, match="holds no address") as caught:
        sql.address()
    assert "hidden" not in str(caught.value)


def test_a_sqlite_file_is_relative_to_the_configuration(tmp_path: Path) -> None:
    text = SQL.replace("postgresql+psycopg://reader@db.example.org/credit", "sqlite:///data/rows.db")
    sql = load_node_config(written(tmp_path, MINIMAL + text)).datasets[0].sql
    assert sql is not None
    assert sql.address().database == str(tmp_path / "data" / "rows.db")
