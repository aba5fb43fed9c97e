"""Why kinds of models fail: whose it is, and what it is."""

# A pattern of "config: error", whose it is, and the cause. The first that matches holds.
CAUSES = [
    (r"op '(carafe|deform_roi_pool|masked|psamask)", 'ours', 'an op that is not served yet'),
    (r'offset output dims', 'ours', 'offsets larger than the output, in deformable convolution'),
    (
        r'cascade-rpn_r50-caffe_fpn_1x_coco.py: .*num_classes',
        "upstream's",
        'RPN does not tell the head its `num_classes` (mmdet/models/detectors/rpn.py:46)',
    ),
    (
        r'bytetrack.*No such file.*/\./bytetrack/',
        "upstream's",
        'its `_base_` names a folder that is not there',
    ),
]
