"""Super-resolution networks against the parameter counts and the layers of their papers."""

from __future__ import annotations

import pytest
import torch

from degsynth.nets.edsr import EDSR
from degsynth.nets.vdsr import VDSR
from degsynth.ops.resample import enlarged
from degsynth.sr.networks import NETWORKS, SCALES, parameter_count


def test_edsr_has_the_parameters_of_its_paper() -> None:
    """1.37 million at ×2 (Table 1 of the challenge report of the authors); 1 518 k at ×4, as others count them."""
    assert parameter_count(EDSR(2, 3)) == 1_369_859
    assert parameter_count(EDSR(4, 3)) == 1_517_571


def test_edsr_has_the_layer_names_of_basicsr() -> None:
    names = set(EDSR(4, 3).state_dict())
    assert {"conv_first.weight", "body.0.conv1.weight", "body.15.conv2.bias", "conv_after_body.bias"} <= names
    assert {"upsample.0.weight", "upsample.2.bias", "conv_last.weight"} <= names
    assert len(names) == 2 * (1 + 32 + 1 + 2 + 1)


def test_vdsr_has_the_parameters_of_its_paper() -> None:
    """665 thousand weights in 20 layers, for luma."""
    network = VDSR(2, 1)
    assert parameter_count(network) == 664_704
    assert len(network.state_dict()) == 20
    assert {"input.weight", "residual_layer.17.conv.weight", "output.weight"} <= set(network.state_dict())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scale", SCALES)
def test_every_network_enlarges_by_its_scale_within_its_halo(name: str, scale: int) -> None:
    """What lies further away than the halo has no influence, and every colour of the output is trained."""
    network, halo = NETWORKS[name].build(scale, 3), NETWORKS[name].halo
    lr = torch.rand(1, 3, 2 * halo + 3, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    out = network(lr)
    assert out.shape == (1, 3, scale * lr.shape[2], scale * 2)
    middle = scale * (halo + 1)
    out[:, :, middle : middle + scale].sum().backward()
    assert lr.grad is not None
    reached = lr.grad.abs().sum((0, 1, 3)) > 0
    assert not reached[0]
    assert not reached[-1]
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in network.parameters())


@pytest.mark.parametrize("name", ["default", "vdsr"])
def test_networks_with_a_skip_begin_at_the_bicubic_enlargement(name: str) -> None:
    lr = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    difference = NETWORKS[name].build(2, 1)(lr).detach() - enlarged(lr, 2)
    assert 0 < float(difference.abs().mean()) < 0.05
