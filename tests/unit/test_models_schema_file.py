"""Schema and campaign files: every refusal names file, line, field and remedy; the shipped files are sound."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from models.errors import DataError, SchemaError
from models.schema_file import load_campaign, load_schema
from models.yaml_file import load_yaml_model

CONFIGS = Path(__file__).parents[2] / "configs"
SCHEMA = """\
name: demo
id: {column: id, type: uscc}
as_of: 2025-06-30
label:
  column: bad
  kind: bank
  performance_months: 12
  title: {zh: 违约, en: Default}
kinds:
  bank:
    features:
      age:
        title: {zh: 年龄, en: Age}
        class: C2
        bins: [25, 30]
"""
CAMPAIGN = "name: c\nschema: schema.yaml\nstages: [scorecard]\nepsilon: 3\n"


class Words(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, object]


def write(folder: Path, text: str, name: str = "schema.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_a_schema_with_a_byte_order_mark(tmp_path: Path) -> None:
    schema = load_schema(write(tmp_path, "\ufeff" + SCHEMA))
    assert schema.widths("bank") == (4,)
    assert schema.label.title.zh == "违约"


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("type: uscc", "type: passport", 2, "id.type: input should be"),
        ("as_of: 2025-06-30", "as_of: 2025-06-31", 3, "no calendar date"),
        ("as_of: 2025-06-30", "as_of: 2025", 3, "as_of: must be a date"),
        ("  kind: bank", "  kind: tax", 6, "label.kind: 'tax' is not one of kinds; correct the value"),
        ("  performance_months: 12\n", "", 4, "label.performance_months: is missing; add it"),
        ("performance_months", "performance_month", 7, "label.performance_month: is not a known field; remove it"),
        ("[25, 30]", "[30, 25]", 15, "kinds.bank.features.age.bins: edges must be strictly increasing"),
        ("[25, 30]", "[25, x]", 15, "kinds.bank.features.age.bins.1: input should be a valid number"),
        ("[25, 30]", "[25, 30", 16, "expected ',' or ']'"),
        (
            "        class: C2\n",
            "        class: C2\n        class: C3\n",
            15,
            "'class' is given twice (first in line 14)",
        ),
        ("  bank:\n", "  witness:\n", 10, "is reserved for a party"),
        ("      age:", "      bad:", 12, "kinds.bank.features.bad: the name is taken by label.column"),
        ("name: demo", "? [a]\n: demo", 1, "a key must be plain text"),
        ("name: demo", "name: !!python/name:os.system demo", 1, "could not determine a constructor"),
    ],
)
def test_errors_name_line_and_field(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in SCHEMA
    path = write(tmp_path, SCHEMA.replace(old, new, 1))
    with pytest.raises(SchemaError) as caught:
        load_schema(path)
    lines = str(caught.value).splitlines()
    assert any(f"{path}:{line}: " in each and message in each for each in lines), lines
    assert caught.value.remedy


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    text = SCHEMA.replace("uscc", "passport").replace("C2", "C9").replace("[25, 30]", "[2, 1]")
    with pytest.raises(SchemaError) as caught:
        load_schema(write(tmp_path, text))
    assert len(str(caught.value).splitlines()) == 3
    assert caught.value.field == "id.type"


@pytest.mark.parametrize("content", [b"", b"- a\n", b"name: \xff\n", b"just text", b"a: 1\n---\nb: 2\n"])
def test_what_is_not_one_mapping_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(SchemaError, match=r"bad\.yaml"):
        load_schema(path)


def test_an_absent_file_and_another_error_class(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="cannot be read"):
        load_schema(tmp_path / "none.yaml")
    with pytest.raises(DataError, match="name: is missing") as caught:
        load_yaml_model(write(tmp_path, SCHEMA.replace("name: demo\n", "")), type(load_shipped()), error=DataError)
    assert caught.value.field == "name"


def load_shipped() -> BaseModel:
    return load_schema(CONFIGS / "give-me-some-credit.yaml")


def test_scalars_follow_yaml_1_2(tmp_path: Path) -> None:
    text = "a: on\nb: no\nc: 1e-5\nd: 012\ne: 12:30\nf: 0x1F\ng: true\nh: ~\ni: -.inf\nj: 2025-01-02\n<<: x\n1: y\n"
    words = load_yaml_model(write(tmp_path, text), Words).__pydantic_extra__
    assert {key: words[key] for key in "abcdefgh"} == {
        "a": "on", "b": "no", "c": 1e-5, "d": 12, "e": "12:30", "f": 31, "g": True, "h": None,
    }  # fmt: skip
    assert words["i"] == float("-inf")
    assert str(words["j"]) == "2025-01-02"
    assert words["<<"] == "x"
    assert words["1"] == "y"


def test_campaign_takes_its_schema_from_beside_it(tmp_path: Path) -> None:
    write(tmp_path, SCHEMA)
    campaign, schema = load_campaign(write(tmp_path, CAMPAIGN, "campaign.yaml"))
    assert campaign.schema_path == tmp_path / "schema.yaml"
    assert schema.name == "demo"
    assert (campaign.delta, campaign.holdout, campaign.t_collude, campaign.noise) == (1e-5, 0.3, 1, "on")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("epsilon: 0", ":4: epsilon: input should be greater than 0"),
        ("epsilon: .inf", ":4: epsilon: input should be a finite number"),
        ("epsilon: .nan", ":4: epsilon: input should be "),
        ("epsilon: true", ":4: epsilon: must be a number"),
        ("epsilon: '3'", ":4: epsilon: must be a number"),
        ("epsilon: 3\ndelta: 0.001", ":5: delta: input should be less than 0.001"),
        ("epsilon: 3\nholdout: 1", ":5: holdout: "),
        ("epsilon: 3\nt_collude: 0", ":5: t_collude: "),
        ("epsilon: 3\nnoise: maybe", ":5: noise: input should be 'on' or 'off'"),
        ("epsilon: 3\nquorum: {bank: 0}", ":5: quorum.bank: "),
        (
            "epsilon: 3\nquorum: {tax: 1}",
            "quorum.tax: kind 'tax' is not in schema 'demo'; use kinds of the schema: bank",
        ),
        ("epsilon: 3\nencoder:\n  retries: 3", ":5: encoder: options are given but stages has no encoder"),
        ("epsilon: 3\nnodes: [a, a]", ":5: nodes: node ids must be distinct"),
        ("epsilon: 3\nstages: [scorecard]", ":5: 'stages' is given twice"),
        ("epsilon: 3\nschema_path: x", "schema_path"),
    ],
)
def test_campaign_refuses(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, SCHEMA)
    with pytest.raises(SchemaError) as caught:
        load_campaign(write(tmp_path, CAMPAIGN.replace("epsilon: 3", line), "campaign.yaml"))
    assert message in str(caught.value)


@pytest.mark.parametrize("stages", ["[]", "[scorecard, encoder]", "[encoder, encoder]", "[tree]"])
def test_stages_have_one_order(tmp_path: Path, stages: str) -> None:
    write(tmp_path, SCHEMA)
    with pytest.raises(SchemaError, match="stages"):
        load_campaign(write(tmp_path, CAMPAIGN.replace("[scorecard]", stages), "campaign.yaml"))


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("campaign-cross-source.yaml", ("bank", "tax", "utility")), ("campaign-bank-consortium.yaml", ("bank",))],
)
def test_shipped_campaigns(name: str, kinds: tuple[str, ...]) -> None:
    campaign, schema = load_campaign(CONFIGS / name)
    assert schema.kinds_in_order() == kinds
    assert set(campaign.quorum) <= set(kinds)
    assert len(schema.all_features()) == 10
    assert campaign.noise == "on"


def test_shipped_schemas_agree_on_every_feature() -> None:
    split = load_schema(CONFIGS / "give-me-some-credit.yaml")
    joined = load_schema(CONFIGS / "gmsc-bank-consortium.yaml")
    assert {f.name: f.spec for f in split.all_features()} == {f.name: f.spec for f in joined.all_features()}
    assert all(f.spec.special_bins == (f.width - 2,) for f in split.features("utility"))


def test_every_shipped_yaml_schema_is_covered() -> None:
    schemas = {path.name for path in CONFIGS.glob("*.yaml") if "\nkinds:" in path.read_text(encoding="utf-8")}
    for name in schemas:
        assert load_schema(CONFIGS / name).hash()
    assert {"give-me-some-credit.yaml", "gmsc-bank-consortium.yaml"} <= schemas
