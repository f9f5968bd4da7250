"""What the machine can do, and settings that a user should not have to know."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from functools import lru_cache

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def has_fast_bf16(cpu: bool = False) -> bool:
    """Whether bfloat16 matrix products run faster than float32 ones here; on the processor if `cpu`."""
    if not cpu and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@lru_cache
def has_bf16_on_cpu() -> bool:
    """Whether the processor takes all that models do in bfloat16, fast or slow: without AVX512 an LSTM is refused."""
    lstm, x = torch.nn.LSTM(1, 1), torch.zeros(1, 1, 1)
    try:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            lstm(x)
    except RuntimeError:
        return False
    return True


def autocast(device: torch.device | str, bf16: bool | None = None) -> contextlib.AbstractContextManager:
    """Context in which matrix products run in bfloat16; reductions stay in float32.

    Args:
        device: where the model is.
        bf16: True, False, or None for what suits the machine.
    """
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=has_fast_bf16(kind == "cpu") if bf16 is None else bf16)


def set_up_process() -> None:
    """Settings for the whole process.

    Asks glibc to keep big freed blocks: those of a training step are asked for again some milliseconds later, and each
    would cost page faults (measured in docs/experiments.md). Takes attention away from cuDNN, which spends up to half a
    second on a plan for every new shape, and nearly every batch of sentences has another.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL("libc.so.6").mallopt
            mallopt(_M_MMAP_THRESHOLD, 2**30)
            mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
