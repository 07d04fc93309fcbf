"""From a GPU in one copy."""

from typing import List, Optional, Sequence

import torch
from torch import Tensor


def to_host(tensors: Sequence[Optional[Tensor]]) -> List[Optional[Tensor]]:
    """Copy tensors to the CPU, all at once.

    Before each copy the CPU waits until a GPU has done all that it was given.

    Args:
        tensors (Sequence[Tensor | None]): Tensors of one device, of any shape, of floats up
            to 32 bits, booleans or integers below 2 ** 24, which float32 holds exactly.

    Returns:
        List[Tensor | None]: The same on the CPU. They share their memory: clone what is
        kept. None is None.
    """
    given = [tensor for tensor in tensors if tensor is not None]
    packed = torch.cat([tensor.flatten().float() for tensor in given]).cpu()
    parts = iter(packed.split([tensor.numel() for tensor in given]))
    return [x if x is None else next(parts).view(x.shape).to(x.dtype) for x in tensors]
