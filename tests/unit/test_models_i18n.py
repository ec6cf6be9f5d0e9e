"""Catalogues: every error code has a title in both languages, and texts fall back rather than vanish."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from models.errors import DataError, SchemaError
from models.i18n import Catalogue, catalogue, explain, language_from_env, language_of, title_of

TREES = (("crypto.errors", "CryptoError"), ("models.errors", "ModelsError"), ("nodes.errors", "NodeError"))


def codes() -> Iterator[str]:
    for module, base in TREES:
        waiting = [getattr(import_module(module), base)]
        while waiting:
            cls = waiting.pop()
            waiting += cls.__subclasses__()
            yield cls.code


@pytest.mark.parametrize("code", sorted(set(codes())))
def test_every_error_code_has_titles(code: str) -> None:
    chinese, english = title_of(code, "zh"), title_of(code, "en")
    assert chinese is not None
    assert any("\u4e00" <= char <= "\u9fff" for char in chinese)
    assert english is not None
    assert english.isascii()


def test_translate_fills_in_and_falls_back() -> None:
    texts = catalogue("models")
    assert texts.translate("zh", "missing") == "缺失"
    assert texts.translate("en", "missing") == "missing"
    assert texts.translate("zh", "no such {what}", what="text") == "no such text"
    assert texts.translate("en", "{a} and {b}", a=1) == "1 and {b}"
    assert texts.translate("zh", "") == ""
    assert not texts.has("zh", "")


def test_explain_gives_title_message_and_remedy() -> None:
    error = DataError("row 3, column age: is text", field="age", remedy="correct the cell")
    assert explain(error, "zh") == "数据与模式不符：row 3, column age: is text\n处理办法：correct the cell"
    assert explain(error, "en") == "Data do not fit the schema: row 3, column age: is text\nRemedy: correct the cell"
    assert explain(SchemaError("a.yaml:1: x; add it", remedy="add it"), "en").count("add it") == 1
    assert explain(ValueError("plain"), "zh") == "plain"
    assert explain(ValueError(), "en") == "ValueError"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "en_GB.UTF-8", "LC_ALL": "", "DIGUA_LANG": "zh"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_language_from_env(environ: dict[str, str], expected: str) -> None:
    assert language_from_env(environ) == expected


def test_language_names() -> None:
    assert [language_of(name) for name in ("zh", "zh-Hans", "ZH_TW", "en", "")] == ["zh", "zh", "zh", "en", "en"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "digua_sample" / "locale" / "zh" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (tmp_path / "digua_sample" / "__init__.py").touch()
    (folder / "digua_sample.po").write_text('msgid "grape"\nmsgstr "葡萄"\n\nmsgid "x"\nmsgst "y"\n', encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "digua_sample"


def test_a_broken_catalogue_is_a_typed_error(package: str) -> None:
    with pytest.raises(SchemaError, match="cannot be read"):
        Catalogue(package).translate("zh", "grape")
    assert Catalogue(package).translate("en", "grape") == "grape"
