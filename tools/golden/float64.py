"""Makes transformers' Llama compute in float64 throughout.

`model.double()` is not enough: the stock code narrows to float32 inside RMSNorm, softmax and the rotary tables. Inside
`everywhere()` those modules see a `torch` whose `float32` is `float64`; nothing else about the stock code changes.
"""

import contextlib

import torch
from transformers import modeling_rope_utils
from transformers.models.llama import modeling_llama


class Torch64:
    float = float32 = torch.float64

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)


@contextlib.contextmanager
def everywhere():
    """Build *and* run the model inside: the rotary frequencies are computed when it is built."""
    modules = (modeling_llama, modeling_rope_utils)
    for module in modules:
        module.torch = Torch64()
    try:
        yield
    finally:
        for module in modules:
            module.torch = torch
