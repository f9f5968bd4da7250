"""Settings of the process."""

import torch

from textvae.hardware import set_up_process


def test_attention_is_not_planned_anew_for_every_shape():
    torch.backends.cuda.enable_cudnn_sdp(True)
    set_up_process()
    assert not torch.backends.cuda.cudnn_sdp_enabled()
