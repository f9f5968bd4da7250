"""Settings of the process."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from textvae.hardware import has_bf16_on_cpu, has_fast_bf16, set_up_process


def test_what_is_fast_in_bfloat16_can_be_done_in_it():
    assert has_bf16_on_cpu() or not has_fast_bf16(cpu=True)


def test_attention_is_not_planned_anew_for_every_shape():
    torch.backends.cuda.enable_cudnn_sdp(True)
    set_up_process()
    assert not torch.backends.cuda.cudnn_sdp_enabled()


HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(
    not HUGE_PAGES.is_file() or "[never]" in HUGE_PAGES.read_text(), reason="this system gives no huge pages"
)
def test_big_tensors_lie_on_huge_pages():
    """In a process whose first tensors are made when the library's modules are imported, as those of commands are."""
    code = """
from textvae import TextVAE
import torch
held = torch.ones(30_000_000)
(line,) = [line for line in open("/proc/self/smaps_rollup") if line.startswith("AnonHugePages")]
print(line.split()[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 60_000  # of 117,188 KiB
