"""Whether two GGUF files hold the same weights, bit for bit once widened to f32."""

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, ReaderTensor


def same_weights(one: Path, other: Path) -> bool:
    left, right = ({tensor.name: tensor for tensor in GGUFReader(path).tensors} for path in (one, other))
    return left.keys() == right.keys() and all(np.array_equal(bits(left[name]), bits(right[name])) for name in left)


def bits(tensor: ReaderTensor) -> np.ndarray:
    if tensor.tensor_type == GGMLQuantizationType.F32:
        return tensor.data.reshape(-1).view(np.uint32)
    if tensor.tensor_type == GGMLQuantizationType.BF16:
        return tensor.data.reshape(-1).view(np.uint16).astype(np.uint32) << 16
    raise SystemExit(f"{tensor.name} is {tensor.tensor_type.name}; only F32 and BF16 widen to f32 exactly")
