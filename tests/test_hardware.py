"""Settings of the process."""

import torch

from textvae.hardware import autocast, has_bf16_on_cpu, has_fast_bf16, set_up_process


def test_what_is_fast_in_bfloat16_can_be_done_in_it():
    assert has_bf16_on_cpu() or not has_fast_bf16(cpu=True)


def test_attention_is_not_planned_anew_for_every_shape():
    torch.backends.cuda.enable_cudnn_sdp(True)
    set_up_process()
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_the_processor_is_asked_where_the_model_is_on_it(monkeypatch):
    """Beside an accelerator with bfloat16."""
    monkeypatch.setattr("textvae.hardware.has_fast_bf16", lambda cpu=False: not cpu)
    with autocast("cpu"):
        assert not torch.is_autocast_enabled("cpu")
