"""The served ops against a compiled mmcv's, where one is installed beside them."""

import sys

import pytest
import torch
from served_ops import random_boxes, served_module

SERVED = served_module()
COMPILED = sys.modules['mmcv._ext']

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(
        getattr(COMPILED, '__file__', None) is None, reason='no compiled mmcv is installed'
    ),
]
HAS_CUDA_OPS = torch.cuda.is_available() and COMPILED.get_compiling_cuda_version()[0].isdigit()
DEVICES = ['cpu', *(['cuda'] if HAS_CUDA_OPS else [])]
only_cuda = pytest.mark.skipif(not HAS_CUDA_OPS, reason='only an mmcv compiled for CUDA has this')

V1 = dict(kW=3, kH=3, dW=2, dH=1, padW=1, padH=2, dilationW=1, dilationH=2, im2col_step=2)
V2 = dict(kernel_h=3, kernel_w=3, stride_h=1, stride_w=2, pad_h=2, pad_w=1)
V2 |= dict(dilation_h=2, dilation_w=1)
GROUPS = dict(group=2, deformable_group=2)


def compare(name, written=(), exact=False, **arguments):
    """Call the function of both modules; compare what it returns and the tensors it writes."""
    outcomes = []
    for module in (COMPILED, SERVED):
        # mmcv's kernels transpose some of their inputs in place
        own = {k: v.clone() if torch.is_tensor(v) else v for k, v in arguments.items()}
        returned = getattr(module, name)(**own)
        outcomes.append([own[key] for key in written] + ([] if returned is None else [returned]))
    compiled, served = outcomes
    tolerance = dict(rtol=0, atol=0) if exact else dict(rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(served, compiled, **tolerance)
    assert all(tensor.any() for tensor in compiled if torch.is_tensor(tensor))
    return served


def random(*shape, seed=0, device='cpu'):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def some_detections(device='cpu'):
    boxes = random_boxes(100, 100.0, torch.Generator().manual_seed(0)).repeat(4, 1)
    scores = torch.rand(400, generator=torch.Generator().manual_seed(1))
    return (boxes + random(400, 4) * 1.5).to(device), scores.to(device)


def some_rois(device='cpu'):
    boxes = random_boxes(50, 60.0, torch.Generator().manual_seed(2))
    return torch.cat([(torch.arange(50) % 2)[:, None], boxes], dim=1).to(device)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('iou_threshold', [0.3, 0.6, 0.7])
def test_nms(iou_threshold, offset, device):
    boxes, scores = some_detections(device)
    options = dict(scores=scores, iou_threshold=iou_threshold, offset=offset)
    (kept,) = compare('nms', exact=True, boxes=boxes, **options)
    assert 50 < len(kept) < 350
    # whole pixels, so that many overlaps are simple fractions
    compare('nms', exact=True, boxes=(boxes / 10).round(), **options)


@pytest.mark.parametrize('levels', [None, 4])
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', [0, 1, 2])
def test_softnms(method, offset, levels):
    boxes, scores = some_detections()
    if levels:  # many equal scores
        scores = (scores * levels).ceil() / levels
    compare(
        'softnms',
        written=['dets'],
        boxes=boxes,
        scores=scores,
        dets=torch.zeros(400, 5),
        iou_threshold=0.3,
        sigma=0.5,
        min_score=0.05,
        method=method,
        offset=offset,
    )


def test_nms_match():
    boxes, scores = some_detections()
    dets = torch.cat([boxes, scores[:, None]], dim=1)
    assert SERVED.nms_match(dets, 0.4) == COMPILED.nms_match(dets, 0.4)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_roi_align(sampling_ratio, aligned, device):
    empty = torch.zeros(0, device=device)
    options = dict(
        rois=some_rois(device),
        argmax_y=empty,
        argmax_x=empty,
        aligned_height=7,
        aligned_width=5,
        spatial_scale=0.25,
        sampling_ratio=sampling_ratio,
        pool_mode=1,
        aligned=aligned,
    )
    maps = random(2, 4, 16, 18, device=device)
    output = torch.zeros(50, 4, 7, 5, device=device)
    compare('roi_align_forward', ['output'], input=maps, output=output, **options)
    gradient = random(50, 4, 7, 5, device=device)
    buffer = torch.zeros_like(maps)
    compare(
        'roi_align_backward', ['grad_input'], grad_output=gradient, grad_input=buffer, **options
    )


def conv_tensors(device):
    """Return input, weight, offset, mask, bias and a gradient of the output."""
    shapes = [(4, 4, 10, 11), (6, 2, 3, 3), (4, 36, 10, 6), (4, 18, 10, 6), (6,), (4, 6, 10, 6)]
    return [random(*shape, seed=seed, device=device) for seed, shape in enumerate(shapes)]


# Offsets between pixels, or on them, as at the start of a training.
OFFSETS = dict(between=lambda offset: offset, whole=torch.round, zero=torch.zeros_like)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('place', OFFSETS)
def test_deform_conv(place, device):
    maps, weight, offset, _, _, gradient = conv_tensors(device)
    offset = OFFSETS[place](offset)
    scratch = dict(columns=maps.new_empty(0), ones=maps.new_empty(0))
    options = dict(input=maps, offset=offset) | V1 | GROUPS
    output = torch.zeros_like(gradient)
    compare('deform_conv_forward', ['output'], weight=weight, output=output, **scratch, **options)
    compare(
        'deform_conv_backward_input',
        ['gradInput', 'gradOffset'],
        gradOutput=gradient,
        gradInput=torch.zeros_like(maps),
        gradOffset=torch.zeros_like(offset),
        weight=weight,
        columns=scratch['columns'],
        **options,
    )
    compare(
        'deform_conv_backward_parameters',
        ['gradWeight'],
        gradOutput=gradient,
        gradWeight=torch.zeros_like(weight),
        scale=0.5,
        **scratch,
        **options,
    )


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('larger', [True, False])
@pytest.mark.parametrize('place', OFFSETS)
@pytest.mark.parametrize('with_bias', [True, False])
def test_modulated_deform_conv(with_bias, place, larger, device):
    maps, weight, offset, mask, bias, gradient = conv_tensors(device)
    bias, offset = bias if with_bias else bias[:0], OFFSETS[place](offset)
    if larger:  # than the output, as DyHead's
        offset, mask = (torch.cat([values, values.flip(0)], dim=3) for values in (offset, mask))
    options = dict(input=maps, weight=weight, offset=offset, mask=mask, bias=bias)
    options |= dict(ones=maps.new_empty(0), columns=maps.new_empty(0), with_bias=with_bias)
    options |= V2 | GROUPS
    output = torch.zeros_like(gradient)
    compare('modulated_deform_conv_forward', ['output'], output=output, **options)
    names = ['input', 'weight', 'offset', 'mask', 'bias']
    buffers = {f'grad_{name}': torch.zeros_like(options[name]) for name in names}
    written = [key for key, buffer in buffers.items() if buffer.numel()]
    compare('modulated_deform_conv_backward', written, grad_output=gradient, **buffers, **options)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('kind', [0, 1])
@pytest.mark.parametrize('mask', [(9, 11), (3, 4)])
def test_psamask(mask, kind, device):
    rows, columns = mask
    options = dict(psa_type=kind, num_=2, h_feature=5, w_feature=6, h_mask=rows, w_mask=columns)
    options |= dict(half_h_mask=(rows - 1) // 2, half_w_mask=(columns - 1) // 2)
    masks = random(2, rows * columns, 5, 6, device=device)
    attention = random(2, 30, 5, 6, device=device)
    output, buffer = torch.zeros_like(attention), torch.zeros_like(masks)
    compare('psamask_forward', ['output'], True, input=masks, output=output, **options)
    tensors = dict(grad_output=attention, grad_input=buffer)
    compare('psamask_backward', ['grad_input'], True, **tensors, **options)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('mode', [0, 1])
@pytest.mark.parametrize('offset', [0, 1])
def test_bbox_overlaps(offset, mode, aligned, device):
    first, second = (some_rois(device)[:, 1:] + shift for shift in (0, 3))
    ious = torch.zeros(50 if aligned else (50, 50), device=device)
    options = dict(mode=mode, aligned=aligned, offset=offset)
    compare('bbox_overlaps', ['ious'], bboxes1=first, bboxes2=second, ious=ious, **options)


@only_cuda
def test_carafe():
    sizes = dict(kernel_size=5, group_size=2, scale_factor=2)
    features, masks = random(2, 4, 6, 7, device='cuda'), random(2, 50, 12, 14, device='cuda')
    output = torch.zeros(2, 4, 12, 14, device='cuda')
    tensors = dict(features=features, masks=masks)
    compare('carafe_naive_forward', ['output'], output=output, **tensors, **sizes)
    buffers = dict(bottom_grad=torch.zeros_like(features), mask_grad=torch.zeros_like(masks))
    gradient = random(2, 4, 12, 14, device='cuda')
    compare(
        'carafe_naive_backward', list(buffers), top_grad=gradient, **tensors, **buffers, **sizes
    )


@only_cuda
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_deform_roi_pool(sampling_ratio):
    options = dict(pooled_height=7, pooled_width=5, spatial_scale=0.25, gamma=0.1)
    options |= dict(sampling_ratio=sampling_ratio, input=random(2, 4, 16, 18, device='cuda'))
    options |= dict(rois=some_rois('cuda'), offset=random(50, 2, 7, 5, device='cuda'))
    output = torch.zeros(50, 4, 7, 5, device='cuda')
    compare('deform_roi_pool_forward', ['output'], output=output, **options)
    buffers = {f'grad_{name}': torch.zeros_like(options[name]) for name in ('input', 'offset')}
    gradient = random(50, 4, 7, 5, device='cuda')
    compare('deform_roi_pool_backward', list(buffers), grad_output=gradient, **buffers, **options)


@only_cuda
def test_roi_pool():
    options = dict(rois=some_rois('cuda'), pooled_height=7, pooled_width=5, spatial_scale=0.25)
    maps = random(2, 4, 16, 18, device='cuda')
    output = torch.zeros(50, 4, 7, 5, device='cuda')
    _, argmax = compare(
        'roi_pool_forward',
        ['output', 'argmax'],
        exact=True,
        input=maps,
        output=output,
        argmax=output.int(),
        **options,
    )
    gradient = random(50, 4, 7, 5, device='cuda')
    compare(
        'roi_pool_backward',
        ['grad_input'],
        grad_output=gradient,
        grad_input=torch.zeros_like(maps),
        argmax=argmax,
        **options,
    )


@only_cuda
@pytest.mark.parametrize('weighted', [True, False])
def test_focal_losses(weighted):
    logits = random(40, 5, device='cuda') * 3
    target = torch.arange(40, device='cuda') % 5
    weight = torch.rand(5 if weighted else 0, device='cuda')
    options = dict(target=target, weight=weight, gamma=2.0, alpha=0.25)
    buffer = torch.zeros_like(logits)
    compare('sigmoid_focal_loss_forward', ['output'], input=logits, output=buffer, **options)
    compare(
        'sigmoid_focal_loss_backward', ['grad_input'], input=logits, grad_input=buffer, **options
    )
    options['input'] = logits.softmax(dim=1)
    row = torch.zeros(40, device='cuda')
    compare('softmax_focal_loss_forward', ['output'], output=row, **options)
    compare(
        'softmax_focal_loss_backward',
        ['buff', 'grad_input'],
        buff=row,
        grad_input=buffer,
        **options,
    )


@only_cuda
def test_ms_deform_attn():
    shape = (2, 30, 4, 2, 3)
    options = dict(
        value=random(2, 26, 4, 8, device='cuda'),
        value_spatial_shapes=torch.tensor([[5, 4], [3, 2]], device='cuda'),
        value_level_start_index=torch.tensor([0, 20], device='cuda'),
        sampling_locations=torch.rand(*shape, 2, device='cuda') * 1.4 - 0.2,
        attention_weights=torch.rand(shape, device='cuda'),
        im2col_step=2,
    )
    compare('ms_deform_attn_forward', **options)
    buffers = dict(
        grad_value=torch.zeros_like(options['value']),
        grad_sampling_loc=torch.zeros_like(options['sampling_locations']),
        grad_attn_weight=torch.zeros_like(options['attention_weights']),
    )
    gradient = random(2, 30, 32, device='cuda')
    compare('ms_deform_attn_backward', list(buffers), grad_output=gradient, **buffers, **options)
