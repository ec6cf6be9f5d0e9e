"""Keeps the banks' products: versions are published and never change; and their reach by published tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes, digest
from hub.clock import seconds
from hub.platform.lending import Lending
from hub.platform.lending_errors import ProductError, ProductUnknownError, ReachUnknownError
from hub.platform.products import ProductFile, ProductTerms, Published
from hub.platform.publishing import publish_version
from hub.platform.reach import Reach, ReachTable, expected_reach
from hub.platform.tables.lending import ProductRow, ReachTableRow
from models.yaml_file import load_yaml_model


class ProductBook:
    """All products of all banks."""

    def __init__(self, lending: Lending) -> None:
        self._its = lending
        self._parsed: dict[tuple[str, str, int], Published] = {}

    def publish(self, actor: str, products: Sequence[ProductTerms]) -> list[Published]:
        """Publish products; each whose terms differ from its newest version gets the next one. All, or none.

        Args:
            actor: who does it, as the audit record names it.
            products: each at most once.
        """
        with self._its.db.session() as session:
            return self.publish_in(session, actor, products)

    def publish_in(self, session: Session, actor: str, products: Sequence[ProductTerms]) -> list[Published]:
        """As `publish`, in a transaction of the caller's."""
        return [self._publish(session, actor, each) for each in products]

    def _publish(self, session: Session, actor: str, terms: ProductTerms) -> Published:
        names = {"bank": terms.bank, "product_id": terms.product_id}
        version, sha256 = publish_version(self._its, session, actor, "product-publish", ProductRow, names, terms=terms)
        return Published(version, terms, sha256)

    def version_in(self, session: Session, bank: str, product_id: str, version: int | None = None) -> Published:
        """Return a version of a product, the newest where none is named.

        Raises:
            ProductUnknownError: there is none.
        """
        if version is not None and (known := self._parsed.get((bank, product_id, version))) is not None:
            return known
        query = select(ProductRow).where(ProductRow.bank == bank, ProductRow.product_id == product_id)
        if version is not None:
            query = query.where(ProductRow.version == version)
        row = session.scalars(query.order_by(ProductRow.version.desc()).limit(1)).first()
        if row is None:
            raise ProductUnknownError(
                f"{bank} has no product {product_id}{'' if version is None else f' of version {version}'}.",
                field="product_id",
                remedy="Publish it first, or name one that is published.",
            )
        found = _published(row)
        self._parsed[bank, product_id, row.version] = found  # a version never changes
        return found

    def version(self, bank: str, product_id: str, version: int | None = None) -> Published:
        """As `version_in`, on its own."""
        with self._its.db.reading() as session:
            return self.version_in(session, bank, product_id, version)

    def newest(self, *, bank: str | None = None, on: date | None = None) -> list[Published]:
        """Return the newest version of each product, of one bank or of all; those on offer on a day, where one is
        given."""
        last = (
            select(ProductRow.bank, ProductRow.product_id, func.max(ProductRow.version).label("version"))
            .group_by(ProductRow.bank, ProductRow.product_id)
            .subquery()
        )
        query = select(ProductRow).join(
            last,
            (ProductRow.bank == last.c.bank)
            & (ProductRow.product_id == last.c.product_id)
            & (ProductRow.version == last.c.version),
        )
        if bank is not None:
            query = query.where(ProductRow.bank == bank)
        with self._its.db.reading() as session:
            rows = session.scalars(query.order_by(ProductRow.bank, ProductRow.product_id)).all()
        found = [_published(row) for row in rows]
        return [each for each in found if on is None or each.terms.on_offer(on)]

    def versions(self, bank: str, product_id: str) -> list[Published]:
        """Return every version of a product, the oldest first."""
        query = select(ProductRow).where(ProductRow.bank == bank, ProductRow.product_id == product_id)
        with self._its.db.reading() as session:
            return [_published(row) for row in session.scalars(query.order_by(ProductRow.version)).all()]

    def take_reach_table(self, actor: str, table: ReachTable) -> int:
        """Keep a published table of counts; from now on reach is told by it. Returns its number."""
        with self._its.db.session() as session:
            return self.take_reach_table_in(session, actor, table)

    def take_reach_table_in(self, session: Session, actor: str, table: ReachTable) -> int:
        """As `take_reach_table`, in a transaction of the caller's."""
        document = canonical_bytes(table)
        number = (session.scalar(select(func.max(ReachTableRow.number))) or 0) + 1
        session.add(
            ReachTableRow(
                number=number,
                model_id=table.model_id,
                document=document.decode(),
                taken_at=seconds(self._its.clock()),
            )
        )
        what = {"model_id": table.model_id, "source": table.source, "sha256": digest(document).hex()}
        self._its.audit(session, actor, "reach-table-take", str(number), what)
        return number

    def reach(self, terms: ProductTerms) -> Reach:
        """Return how many merchants a product's rule would reach, by the newest published table.

        Raises:
            ReachUnknownError: the platform has none.
        """
        table = self.reach_table()
        if table is None:
            raise ReachUnknownError(
                "No table of counts by band was published to this platform.",
                remedy="Have the programme office take over the table of the model in use.",
            )
        return expected_reach(table, terms.rule)

    def reach_table(self) -> ReachTable | None:
        """Return the newest published table of counts; None where the platform has none."""
        with self._its.db.reading() as session:
            row = session.scalars(select(ReachTableRow).order_by(ReachTableRow.number.desc()).limit(1)).first()
        return None if row is None else ReachTable.model_validate_json(row.document)


def read_products(path: Path) -> tuple[ProductTerms, ...]:
    """Read a file of products, YAML or JSON.

    Raises:
        ProductError: it cannot be read or does not fit; the message names file, line and field of each problem.
    """
    return load_yaml_model(path, ProductFile, error=ProductError).products


def _published(row: ProductRow) -> Published:
    return Published(row.version, ProductTerms.model_validate_json(row.terms), row.sha256)
