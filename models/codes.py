"""Bin codes: what stands for a row without a record, and for each outcome."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint8]
ABSENT = 255  # the code of every feature of a merchant without a record at this kind
DEFAULTED, PERFORMING, UNLABELLED = 0, 1, 2
N_OUTCOMES = 3
