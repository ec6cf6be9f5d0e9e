"""Receipts of consents after ISO/IEC TS 27560, for the merchant and for parties that a consent names (2)."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select

from crypto.checkpoint import parse_note
from crypto.jws import peek_payload
from crypto.keys import Signer
from crypto.record_receipts import receipt_of, seal_receipt
from crypto.wire.audit import InclusionProof
from crypto.wire.consent import Acknowledgement, ConsentEvent
from crypto.wire.receipt import ReceiptFile, ReceiptFiles, ReceiptProof, SignedByMerchant
from hub.clock import Clock
from hub.consent_receipts import Artefact, ReceiptDesk
from hub.consents import Consents, StoredConsent, named_parties
from hub.db import Database
from hub.errors import CheckpointNotCosignedError, NotFoundError
from hub.log_places import places_of
from hub.log_reading import LogReader
from hub.merchant_keys import statement_of
from hub.roster import RosterKeeper
from hub.tables.consents import ConsentEventRow
from hub.tables.parties import MerchantKeyBatchRow, MerchantKeyRow


class RecordReceipts:
    """Makes receipts, each anew: they say how a consent stands now."""

    def __init__(
        self,
        db: Database,
        consents: Consents,
        desk: ReceiptDesk,
        reader: LogReader,
        roster: RosterKeeper,
        *,
        key: Signer,
        hub_id: str,
        clock: Clock,
        successions: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self._db = db
        self._consents = consents
        self._desk = desk
        self._reader = reader
        self._roster = roster
        self._key = key
        self._hub_id = hub_id
        self._clock = clock
        self._successions = successions

    def of_merchant(self, pseudonym: bytes) -> ReceiptFiles:
        """Return receipts of all consents of a merchant whose entries can be proved, the oldest first."""
        receipts: list[ReceiptFile] = []
        waiting: list[str] = []
        for consent in self._consents.of_merchant(pseudonym):
            try:
                receipts.append(self._receipt(consent))
            except CheckpointNotCosignedError:
                waiting.append(consent.record.record_id)
            except NotFoundError:
                continue  # its link to the log was erased on the merchant's own demand
        return ReceiptFiles(receipts=tuple(receipts), waiting=tuple(waiting))

    def of_consent(self, record_id: str, *, party_id: str) -> ReceiptFile:
        """Return a consent's receipt for a party that it names.

        Raises:
            NotFoundError: there is none that names the party, or its link to the log was erased.
            CheckpointNotCosignedError: no cosigned checkpoint covers its entry yet.
        """
        return self._receipt(self._consents.read(record_id, party_id=party_id))

    def of_own(self, record_id: str, *, pseudonym: bytes) -> ReceiptFile:
        """Return the receipt of a merchant's own consent; raises as `of_consent` does."""
        consent = self._consents.read(record_id)
        if consent.record.pii_principal_id != pseudonym:
            raise NotFoundError(
                "There is no such consent of yours.", field="record", remedy="Open the list of your consents again."
            )
        return self._receipt(consent)

    def _receipt(self, consent: StoredConsent) -> ReceiptFile:
        record, token = consent.record, consent.item.consent
        current = self._roster.current()
        acknowledged, sha256 = self._acknowledged(consent)
        if current is None or acknowledged is None:
            raise NotFoundError(
                "This consent's link to the log was erased.",
                field="record_id",
                remedy="The signed consent itself is still there: GET /v1/consents.",
            )
        proof = ReceiptProof(
            record=SignedByMerchant(token=token, merchant_key=consent.item.merchant_key),
            events=self._events(record.record_id),
            roster=current[0],
            acknowledgement=acknowledged,
            inclusion=self._inclusion(record.pii_principal_id, sha256, acknowledged.entry),
        )
        events = [ConsentEvent.model_validate_json(peek_payload(each.token)) for each in proof.events]
        parties = {party.party_id: party for party in current[1].parties}
        receipt = receipt_of(record, events, parties, self._clock())
        return seal_receipt(receipt, proof, self._key, hub_id=self._hub_id, successions=self._successions())

    def _acknowledged(self, consent: StoredConsent) -> tuple[Acknowledgement | None, bytes]:
        token = consent.item.consent
        artefact = Artefact.of(token, consent.record.pii_principal_id, named_parties(consent.record))
        (acknowledged,) = self._desk.acknowledge("consent", [token], [artefact], {})
        return acknowledged, artefact.sha256

    def _events(self, record_id: str) -> tuple[SignedByMerchant, ...]:
        query = (
            select(ConsentEventRow.token, MerchantKeyRow, MerchantKeyBatchRow)
            .join(MerchantKeyRow, MerchantKeyRow.id == ConsentEventRow.key_id)
            .join(MerchantKeyBatchRow, MerchantKeyBatchRow.batch_id == MerchantKeyRow.batch_id)
            .where(ConsentEventRow.record_id == record_id)
            .order_by(ConsentEventRow.id)
        )
        with self._db.reading() as session:
            return tuple(
                SignedByMerchant(token=token, merchant_key=statement_of(key, batch))
                for token, key, batch in session.execute(query)
            )

    def _inclusion(self, pseudonym: bytes, sha256: bytes, entry: str) -> InclusionProof:
        index = places_of(self._reader, pseudonym, "consent", [sha256]).get(sha256)
        try:
            note = self._reader.checkpoint()
        except NotFoundError as error:
            raise _not_cosigned() from error
        size = parse_note(note)[0].size
        if index is None or index >= size:
            raise _not_cosigned()
        hashes = tuple(self._reader.inclusion(index, size))
        return InclusionProof(index=index, entry=entry, hashes=hashes, checkpoint=note)


def _not_cosigned() -> CheckpointNotCosignedError:
    return CheckpointNotCosignedError(
        "The consent is taken, but the witness has cosigned no checkpoint over its log entry yet.",
        field="record_id",
        remedy="Ask again in a few seconds.",
    )
