"""Makes transformers compute in float64 throughout.

`model.double()` is not enough: the stock code narrows to float32 inside norms, softmax, routers and the rotary tables.
Inside `everywhere()` each call of torch that names float32 gets float64 instead, and `Tensor.float()` is
`Tensor.double()`; nothing else about the stock code changes. `refusing_narrower()` proves that it held.
"""

import contextlib

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NARROWER = {torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex32}


class Widen(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        args, kwargs = tree_map(widened, (args, kwargs or {}))
        return func(*args, **kwargs)


class RefuseNarrower(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.dtype in NARROWER:
                raise TypeError(f"{func} gave {leaf.dtype}: float64.py no longer fits transformers")
        return result


@contextlib.contextmanager
def everywhere():
    """Build *and* run the model inside: the rotary frequencies are computed when it is built."""
    with Widen():
        yield


@contextlib.contextmanager
def refusing_narrower():
    """Run the forward pass inside: any operation whose result is narrower than float64 raises."""
    with RefuseNarrower():
        yield


def widened(value: object) -> object:
    return torch.float64 if value is torch.float32 else value
