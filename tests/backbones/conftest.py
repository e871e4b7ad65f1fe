"""What the tests of the backbones share."""

import pytest
import torch

from graft.backbones import Sam, build_sam


@pytest.fixture
def sam() -> Sam:
    """A tiny SAM whose tables of positions are not zero, as the stock constructor leaves them."""
    model = build_sam("tiny", 64)
    with torch.no_grad():
        for name, parameter in model.image_encoder.named_parameters():
            if "pos" in name:
                parameter.normal_()
    return model
