"""Frames with training messages: what is none, or has an error in place of content, is refused by its name."""

from __future__ import annotations

import pytest
from flwr.app import Message, RecordDict
from flwr.proto.message_pb2 import Message as ProtoMessage

from nodes.errors import LinkError
from nodes.training import serve_link
from tests.fuzz.file_targets import TARGETS

ANSWER = serve_link(lambda message: Message(RecordDict(), reply_to=message))
(ASKED,) = TARGETS["message"].seeds()


def test_a_message_with_content_is_answered() -> None:
    answered, asked = ProtoMessage.FromString(ANSWER(ASKED)), ProtoMessage.FromString(ASKED)
    assert answered.HasField("content")
    assert answered.metadata.reply_to_message_id == asked.metadata.message_id


def test_a_message_with_an_error_in_its_place_is_refused() -> None:
    asked = ProtoMessage.FromString(ASKED)
    asked.ClearField("content")
    asked.error.code = 1
    with pytest.raises(LinkError, match="no content"):
        ANSWER(asked.SerializeToString())


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(LinkError, match="cannot be read"):
        ANSWER(b"\xff")
