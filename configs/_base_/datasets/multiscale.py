# Multi-scale training: a short side of 480, 512, ... or 800 px, a long side of at most 1333 px.
multiscale_resize = dict(
    type='RandomChoiceResize',
    scales=[(1333, short) for short in range(480, 801, 32)],
    keep_ratio=True,
)
