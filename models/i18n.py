"""Texts for persons in Chinese and English: gettext catalogues, compiled in memory from the .po files shipped.

A package may have several files, e.g. one for each group of its pages; together they are its catalogue.

A message id is the English text itself, or the stable code of an error, which has a title in both languages.
"""

from __future__ import annotations

import gettext
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from io import BytesIO
from typing import Literal

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po

from models.errors import SchemaError

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")


@dataclass(frozen=True)
class Catalogue:
    """The texts of one package: the files ``<package>/locale/<lang>/LC_MESSAGES/*.po``.

    Attributes:
        package: an importable package of ours, e.g. ``"models"``.
    """

    package: str
    _loaded: dict[Language, gettext.NullTranslations] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def translate(self, lang: str, msgid: str, **params: object) -> str:
        """Text of a message, its ``{name}`` places filled from ``params``; the message id where there is none.

        Raises:
            SchemaError: the .po file of the package cannot be read.
        """
        text = self._translations(language_of(lang)).gettext(msgid) if msgid else ""
        return text.format_map(_Known(params)) if params else text

    def plural(self, lang: str, singular: str, plural: str, n: int) -> str:
        """Text of a message that goes by a number, its places not filled; the ids themselves where there is none."""
        return self._translations(language_of(lang)).ngettext(singular, plural, n)

    def has(self, lang: str, msgid: str) -> bool:
        """Whether the catalogue itself has a text for this message."""
        return bool(msgid) and self._translations(language_of(lang)).gettext(msgid) != msgid

    def _translations(self, lang: Language) -> gettext.NullTranslations:
        if lang not in self._loaded:
            self._loaded[lang] = _compile(self.package, lang)
        return self._loaded[lang]


@cache
def catalogue(package: str) -> Catalogue:
    """The catalogue of a package, read once a process."""
    return Catalogue(package)


def explain(error: BaseException, lang: str, *catalogues: Catalogue) -> str:
    """One text for a person: the error's title, what happened, and the remedy.

    Args:
        error: any error; those of our trees carry ``code`` and ``remedy``.
        lang: ``"zh"`` or ``"en"``.
        catalogues: further places to look its code up in, before that of ``models``.
    """
    code = getattr(error, "code", None)
    remedy = getattr(error, "remedy", None)
    what = str(error) or type(error).__name__
    parts = [what]
    if isinstance(code, str) and (title := title_of(code, lang, *catalogues)) is not None:
        parts = [f"{title}：{what}" if language_of(lang) == "zh" else f"{title}: {what}"]
    if remedy and remedy not in what:
        label = catalogue("models").translate(lang, "Remedy")
        parts.append(f"{label}：{remedy}" if language_of(lang) == "zh" else f"{label}: {remedy}")
    return "\n".join(parts)


def title_of(code: str, lang: str, *catalogues: Catalogue) -> str | None:
    """Title of an error code, or ``None`` where no catalogue has one."""
    for each in (*catalogues, catalogue("models")):
        if each.has(lang, code):
            return each.translate(lang, code)
    return None


def language_from_env(environ: Mapping[str, str] | None = None) -> Language:
    """The user's language by ``DIGUA_LANG``, ``LC_ALL`` or ``LANG``, the first that is set; else English."""
    given = os.environ if environ is None else environ
    value = next((given[name] for name in ("DIGUA_LANG", "LC_ALL", "LANG") if given.get(name)), "en")
    return language_of(value)


def language_of(name: str) -> Language:
    """``"zh"`` for any Chinese locale (``zh_CN.UTF-8``), ``"en"`` for all others."""
    return "zh" if name.strip().lower().startswith("zh") else "en"


def _compile(package: str, lang: Language) -> gettext.NullTranslations:
    folder = resources.files(package).joinpath("locale", lang, "LC_MESSAGES")
    files = (
        sorted((each for each in folder.iterdir() if each.name.endswith(".po")), key=lambda each: each.name)
        if folder.is_dir()
        else []
    )
    if not files:
        return gettext.NullTranslations()
    whole = Catalog(locale=lang)
    for source in files:
        try:
            for message in read_po(BytesIO(source.read_bytes()), locale=lang, abort_invalid=True):
                if message.id:
                    whole[message.id] = message
        except (PoFileError, UnicodeDecodeError, ValueError) as problem:
            raise SchemaError(
                f"{source}: the message catalogue cannot be read: {problem}",
                field=package,
                remedy="reinstall the package",
            ) from problem
    compiled = BytesIO()
    write_mo(compiled, whole)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


class _Known(dict[str, object]):
    """Leaves places without a parameter as they stand, rather than losing the whole text."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"
