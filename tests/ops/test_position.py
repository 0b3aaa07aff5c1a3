from __future__ import annotations

import torch

from degsynth.ops.position import pixel_centres, relative_position


def test_corners_and_middle() -> None:
    """The outermost pixels of a 10×20 image lie half a pixel inside −1 … 1, its middle at 0."""
    position = relative_position(pixel_centres(0, 0, 10, 20), torch.tensor([[10.0, 20.0]]))[0]
    assert torch.allclose(position[:2, 0, 0], torch.tensor([-0.9, -0.95]))
    assert torch.allclose(position[:2, -1, -1], torch.tensor([0.9, 0.95]))
    assert torch.allclose(position[:2].mean((1, 2)), torch.zeros(2), atol=1e-6)
    assert torch.allclose(position[2], position[0] ** 2 + position[1] ** 2)


def test_a_window_knows_where_it_is() -> None:
    whole = pixel_centres(0, 0, 30, 40)
    assert torch.equal(pixel_centres(7, 11, 5, 6), whole[:, :, 7:12, 11:17])


def test_images_of_another_size_are_whole_frames_too() -> None:
    small = relative_position(pixel_centres(0, 0, 8, 8), torch.tensor([[8.0, 8.0]]))
    large = relative_position(pixel_centres(0, 0, 80, 80), torch.tensor([[80.0, 80.0]]))
    assert torch.allclose(small, torch.nn.functional.avg_pool2d(large, 10), atol=0.02)


def test_unknown_size_is_the_middle() -> None:
    assert not relative_position(pixel_centres(3, 4, 5, 6), torch.zeros(1, 2)).any()


def test_items_of_a_batch_have_their_own_size() -> None:
    centres = pixel_centres(0, 0, 4, 4).expand(2, -1, -1, -1)
    both = relative_position(centres, torch.tensor([[4.0, 4.0], [8.0, 8.0]]))
    assert torch.allclose(both[0, 0, 0, 0], torch.tensor(-0.75))
    assert torch.allclose(both[1, 0, 0, 0], torch.tensor(-0.875))
