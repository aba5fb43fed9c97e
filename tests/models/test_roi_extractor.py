"""Boxes keep their precision in mixed precision."""

import torch

from glmix_mm.models.roi_extractor import Float32RoIExtractor

SETTINGS = dict(
    roi_layer=dict(type='RoIAlign', output_size=1, sampling_ratio=1),
    out_channels=1,
    featmap_strides=[4, 8],
)


def test_box_centres_survive_bfloat16():
    # A map whose values are its columns: RoIAlign of one cell reads the box's centre back.
    columns = torch.arange(334.0).expand(1, 1, 4, 334) - 166
    boxes = torch.tensor([[0, x, 2, x + 6, 8] for x in (1001.3, 1111.9, 1234.5)])
    extractor = Float32RoIExtractor(**SETTINGS)
    feats = [columns, columns[..., ::2]]
    exact = (boxes[:, 1] + 3) / 4 - 0.5 - 166
    found = extractor(feats, boxes).flatten()
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-3)

    half = [feat.bfloat16() for feat in feats]  # whole numbers up to 256 are exact
    precise = extractor(half, boxes)
    assert precise.dtype == torch.float32
    torch.testing.assert_close(precise.flatten(), exact, rtol=0, atol=1e-3)
    mmdets = super(Float32RoIExtractor, extractor).forward(half, boxes).float().flatten()
    assert (mmdets - exact).abs().max() > 0.2  # in steps of 4 px: what is avoided
