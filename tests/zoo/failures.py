"""Why kinds of models fail: whose it is, and what it is."""

# A pattern of "config: error", whose it is, and the cause. The first that matches holds.
CAUSES = [
    (r"can't allocate memory", 'limit', 'needs more than 8 GB'),
    (r'took over \d+ s|ended by signal 9', 'limit', 'took too long'),
    (r'needs the compiled mmcv', 'ours', 'an op that is not served'),
    (
        r'cascade-rpn_r50-caffe_fpn_1x_coco.py: .*num_classes',
        "upstream's",
        'RPN does not tell the head its `num_classes` (mmdet/models/detectors/rpn.py:46)',
    ),
    (
        r'bytetrack.*No such file.*/\./bytetrack/',
        "upstream's",
        'the path in its `_base_` does not exist',
    ),
    (
        r"'SSDHead' object has no attribute 'loss_cls'",
        "upstream's",
        'predictions read `loss_cls`, which the head of SSD does not have '
        '(mmdet/models/dense_heads/base_dense_head.py:376, open as mmdetection#11780)',
    ),
    (
        r'^queryinst/.*fcn_mask_head.py:45',
        "upstream's",
        'boxes outside the image, which random weights give, cannot be pasted on a CPU '
        '(mmdet/models/roi_heads/mask_heads/fcn_mask_head.py:451)',
    ),
    (
        r'^yolo/.*predictions: not finite',
        "upstream's",
        'the exponential of box sizes overflows with random weights and the statistics of BN '
        'at their start',
    ),
    (
        r'^glip/.*losses/utils.py:50',
        "upstream's",
        'a config to predict with: its head has no loss of boxes that fits; '
        'those to fine-tune have',
    ),
    (
        r'huggingface.co|http_backend.py|SentencePiece',
        'data',
        'loads a published tokenizer or language model',
    ),
    (r'checkpoint.py:371', 'data', 'loads a published model as its teacher'),
    (
        r"MMPretrain doesn't support",
        "upstream's",
        'its head cannot be trained (mmpretrain/models/heads)',
    ),
    (
        r'^beit/.*beit.py:142',
        'limit',
        'takes 640 px alone, and reached the limit of 8 GB in training',
    ),
    (
        r'^lenet/.*Dimension out of range',
        "upstream's",
        'a batch of one image loses its axis (backbones/lenet.py:40)',
    ),
    (r'^blip/blip-base_8xb16_refcoco', 'ours', 'the made-up batch has no phrases and boxes yet'),
    (r'data/inshop/', 'data', 'predicts by the images of its gallery'),
    (r'Detectron2', 'optional package', 'needs Detectron2, which was not installed'),
]
