"""What one training message carries, whatever framework moves it: named texts and named arrays.

Signed documents travel as texts (compact JWS); bulk travels as arrays. The two services each map a parcel to
their framework's records, so that neither imports the other and the protocol's steps see no framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.errors import ExchangeError

Array = NDArray[Any]
ArrayFields = tuple[str, tuple[int, ...], bytes]
ARRAY_FORMAT = "little-endian"
_DTYPES = frozenset({"bool", "uint8", "int32", "uint32", "int64", "uint64", "float32", "float64"})


@dataclass(frozen=True)
class Parcel:
    """Texts and arrays by name.

    Attributes:
        texts: name → text; signed ones are compact JWS.
        arrays: name → array of fixed-size numbers; bytes travel as uint8.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """The text of that name.

        Raises:
            ExchangeError: there is none.
        """
        if name not in self.texts:
            raise ExchangeError(f"the message lacks {name}", field=name, remedy="send every part of this step")
        return self.texts[name]

    def array(self, name: str, dtype: type[np.generic], ndim: int) -> Array:
        """The array of that name, of exactly this type and number of dimensions.

        Raises:
            ExchangeError: there is none, or it has another type or shape.
        """
        found = self.arrays.get(name)
        if found is None or found.dtype != np.dtype(dtype) or found.ndim != ndim:
            raise ExchangeError(
                f"the message lacks {name} as {np.dtype(dtype).name} of {ndim} dimensions",
                field=name,
                remedy="send every part of this step in its own type",
            )
        return found

    def blob(self, name: str) -> bytes:
        """Bytes that travelled as a uint8 array.

        Raises:
            ExchangeError: there are none of that name.
        """
        array = self.array(name, np.uint8, 1)
        return _whole(array) or array.tobytes()

    def fields(self) -> dict[str, ArrayFields]:
        """Every array as a framework's record takes it: type, shape and bytes."""
        return {name: array_fields(array) for name, array in self.arrays.items()}

    @classmethod
    def of_fields(cls, texts: Mapping[str, object], fields: Mapping[str, ArrayFields]) -> Parcel:
        """A parcel out of a framework's records; values that are not texts are ignored.

        Raises:
            ExchangeError: an array is malformed.
        """
        return cls(
            {name: value for name, value in texts.items() if isinstance(value, str)},
            {name: array_from_fields(*each) for name, each in fields.items()},
        )

    def names(self, prefix: str) -> dict[str, str]:
        """Arrays and texts whose name starts with `prefix`: rest of the name → whole name."""
        return {name[len(prefix) :]: name for name in (*self.texts, *self.arrays) if name.startswith(prefix)}


def array_fields(array: Array) -> ArrayFields:
    """Type, shape and little-endian bytes of an array; without a copy where it is bytes that came or were sealed.

    NumPy's own format is not used: its header is parsed by `ast.literal_eval`, which in CPython 3.11 fails now and
    then when several threads do it at once.
    """
    plain = np.ascontiguousarray(array)
    whole = _whole(plain) if plain.dtype.newbyteorder("<") == plain.dtype else None
    if whole is not None:
        return plain.dtype.name, array.shape, whole
    return plain.dtype.name, array.shape, plain.astype(plain.dtype.newbyteorder("<"), copy=False).tobytes()


def array_from_fields(dtype: str, shape: tuple[int, ...], data: bytes) -> Array:
    """The array of `array_fields`, over the same bytes, which nobody writes to.

    Raises:
        ExchangeError: another type, or bytes that do not fill the shape.
    """
    refused = ExchangeError(
        "an array of the message is malformed", field="arrays", remedy="send arrays of fixed-size numbers"
    )
    if dtype not in _DTYPES:
        raise refused
    try:
        values = np.frombuffer(data, dtype=np.dtype(dtype).newbyteorder("<")).reshape(tuple(shape))
    except (TypeError, ValueError) as problem:
        raise refused from problem
    return values.astype(np.dtype(dtype), copy=False)


def as_array(data: bytes) -> NDArray[np.uint8]:
    """Bytes as a uint8 array, without copying them."""
    return np.frombuffer(data, dtype=np.uint8)


def _whole(array: Array) -> bytes | None:
    """The bytes object that an array is a view of, from first to last byte; None where it is not."""
    base = array.base
    while isinstance(base, np.ndarray):
        base = base.base
    whole = isinstance(base, bytes) and len(base) == array.nbytes and array.flags.c_contiguous
    return base if whole and isinstance(base, bytes) else None
