"""Frames of a node's one outbound connection: a msgpack map per WebSocket message, closed and bounded.

Frames only carry; what must be trusted is signed inside their bodies.
"""

from __future__ import annotations

import msgpack
from pydantic import ValidationError

from crypto.errors import FrameError
from crypto.wire.link import Frame

MAX_FRAME_BYTES = 256 << 20
_FIELDS = ("type", "id", "reply_to", "body")
_TRACE = "trace"


def encode_frame(frame: Frame) -> bytes:
    """The bytes of a frame.

    Raises:
        FrameError: it is larger than `MAX_FRAME_BYTES`.
    """
    fields = {name: getattr(frame, name) for name in _FIELDS}
    if frame.trace is not None:
        fields[_TRACE] = frame.trace
    data: bytes = msgpack.packb(fields, use_bin_type=True)
    _check_size(len(data))
    return data


def decode_frame(data: bytes) -> Frame:
    """The frame in these bytes.

    Raises:
        FrameError: they are not exactly one frame of a known type, or too many.
    """
    _check_size(len(data))
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_bin_len=MAX_FRAME_BYTES,
            max_str_len=1024,
            max_map_len=len(_FIELDS) + 1,
            max_array_len=0,
            max_ext_len=0,
        )
        if not isinstance(value, dict) or not isinstance(value.get("body"), bytes):
            raise FrameError("the message is no frame", field="frame", remedy="update the software of the other side")
        return Frame.model_validate(value, strict=True)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        raise FrameError(
            f"a frame's {'.'.join(map(str, first['loc'])) or 'map'} is malformed",
            field="frame",
            remedy="update the software of the other side",
        ) from problem
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as problem:
        raise FrameError(
            "the message is not one msgpack frame", field="frame", remedy="update the software of the other side"
        ) from problem


def _check_size(size: int) -> None:
    if size > MAX_FRAME_BYTES:
        raise FrameError(
            f"a frame of {size >> 20} MiB is larger than {MAX_FRAME_BYTES >> 20} MiB",
            field="frame",
            remedy="send bulk in several frames",
        )
