"""The array types that the pure core speaks."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Positions = NDArray[np.int8]
"""-1 short, 0 flat, 1 long."""
Times = NDArray[np.datetime64]
"""datetime64[us], UTC."""
