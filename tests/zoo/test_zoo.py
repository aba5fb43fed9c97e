"""Kinds of models that need served ops build, predict and take a training step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from zoo_page import family_table

KINDS = {  # each for the op that it needs
    'mmdet': (
        'carafe/faster-rcnn_r50_fpn-carafe_1x_coco.py',
        'dcn/faster-rcnn_r50_fpn_dpool_1x_coco.py',
        'dcnv2/faster-rcnn_r50-mdconv-group4-c3-c5_fpn_1x_coco.py',
        'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
        'dyhead/atss_r50_fpn_dyhead_1x_coco.py',
        'guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco.py',
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        'pisa/faster-rcnn_r50_fpn_pisa_1x_coco.py',
        'reppoints/reppoints-moment_r50_fpn_1x_coco.py',
    ),
    'mmseg': ('psanet/psanet_r50-d8_4xb2-40k_cityscapes-512x1024.py',),
}


@pytest.mark.slow
def test_ten_kinds_that_need_served_ops(tmp_path):
    for package, configs in KINDS.items():
        kinds = [dict(config=name, family=name.split('/')[0], configs=1) for name in configs]
        (tmp_path / f'{package}-kinds.json').write_text(json.dumps(kinds))
    # A process of its own: it forks, and must not have trained before.
    command = [sys.executable, Path(__file__).with_name('zoo.py'), *KINDS]
    environment = {**os.environ, 'GLMIX_ZOO': str(tmp_path), 'OMP_NUM_THREADS': '1'}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    lines = [line for p in KINDS for line in (tmp_path / f'{p}.jsonl').read_text().splitlines()]
    rows = list(map(json.loads, lines))
    assert len(rows) == 10
    for row in rows:
        assert (row['build'], row['predict'], row['train']) == ('yes',) * 3, row


def test_page_counts_what_passed_of_what_is_meant():
    yes = dict(family='a', configs=3, config='a/one.py', build='yes', predict='yes', train='yes')
    learns = dict(yes, config='a/two.py', configs=1, predict='not meant')
    fails = dict(yes, config='a/three.py', configs=2, train='ValueError: a | b')
    row = family_table([yes, learns, fails])[-1]
    assert row == '| a | 6 | 3 | 3 / 3 | 2 / 2 | 2 / 3 | ValueError: a \\| b (not known) |'
