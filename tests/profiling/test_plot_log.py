"""Curves of logs, also of resumed runs, and a picture with all of them."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from glmix_mm.cli import run
from glmix_mm.profiling import plot_log
from glmix_mm.profiling.plot_log import draw_curves, read_log


def write(work_dir, start, *entries, end=''):
    path = work_dir / start / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(entry) + '\n' for entry in entries) + end)


def trained(step, loss):
    return dict(lr=0.1 / step, loss=loss, loss_cls=loss / 2, iter=step, step=step)


def test_scores_stand_at_the_last_step_before_them(tmp_path):
    write(
        tmp_path,
        '1',
        trained(50, 4.0),
        trained(100, 2.0),
        {'coco/bbox_mAP': 0.1, 'coco/segm_mAP': 0.05, 'step': 1},  # by epoch
        trained(150, 1.5),
        {'coco/bbox_mAP': 0.2, 'coco/segm_mAP': 0.15, 'step': 2},
        end='{"lr": 0.0',  # the run is not over
    )
    assert read_log(tmp_path) == {
        'loss': ([50, 100, 150], [4.0, 2.0, 1.5]),
        'lr': ([50, 100, 150], [0.1 / 50, 0.1 / 100, 0.1 / 150]),
        'coco/bbox_mAP': ([100, 150], [0.1, 0.2]),
        'coco/segm_mAP': ([100, 150], [0.05, 0.15]),
    }


def test_a_resumed_run_goes_on_in_place_of_what_was_lost(tmp_path):
    write(tmp_path, '1', trained(50, 4.0), trained(100, 3.0), trained(150, 9.0), dict(mIoU=7.0))
    write(tmp_path, '2', trained(150, 2.0), dict(mIoU=30.0, step=160))
    write(tmp_path, '3', dict(mIoU=31.0, step=0))  # a test of a checkpoint has no steps
    curves = read_log(tmp_path)
    assert curves['loss'] == ([50, 100, 150], [4.0, 3.0, 2.0])
    assert curves['mIoU'] == ([160], [30.0])


def test_every_run_has_its_colour_in_every_diagram(tmp_path):
    runs = {
        'one': {'loss': ([1, 2], [1.0, 0.5]), 'mIoU': ([1, 2], [10.0, 20.0])},
        'two': {'loss': ([1, 2], [2.0, 1.5]), 'lr': ([1, 2], [0.1, 0.2])},
    }
    picture = np.asarray(Image.open(io.BytesIO(draw_curves(runs))).convert('RGB'))
    for colour, halves in (((0x00, 0x72, 0xB2), (1, 0, 1)), ((0xD5, 0x5E, 0x00), (1, 1, 0))):
        found = (picture == colour).all(2)
        height, width = (side // 2 for side in found.shape)
        top = found[: height - 60]
        low = found[height + 20 : -80]
        parts = (top[:, :width], top[:, width:], low[:, :width])
        assert tuple(int(part.sum() > 100) for part in parts) == halves
        assert found[-80:].sum() > 20  # the legend
    edges = [picture[:3], picture[-3:], picture[:, :3], picture[:, -3:]]
    assert all((edge == 255).all() for edge in edges)


def test_the_command_line(tmp_path, capsys):
    for folder in ('a/run', 'b/run', 'c'):
        write(tmp_path / folder, '1', trained(1, 2.0), trained(2, 1.0))
    out = tmp_path / 'new' / 'curves.png'
    folders = [str(tmp_path / folder) for folder in ('a/run', 'b/run', 'c')]
    assert run(plot_log.main, [*folders, '--out', str(out)]) == 0
    assert capsys.readouterr().out == f'{out}\n'
    assert Image.open(out).width > 1000


@pytest.mark.parametrize(
    ('log', 'message'),
    [
        (None, r'.*work: .*vis_data/scalars.json'),
        ('{"step": 1}\n', '.*scalars.json: .*loss, '),
        ('{}\nloss=1\n{}\n', r".*scalars.json:2: .*'loss=1'"),
    ],
)
def test_mistakes_end_in_one_line(log, message, tmp_path, capsys):
    if log is not None:
        write(tmp_path / 'work', '1', end=log)
    assert run(plot_log.main, [str(tmp_path / 'work'), '--out', str(tmp_path / 'x.png')]) == 1
    assert re.match(f'error: {message}', capsys.readouterr().err)
    assert not (tmp_path / 'x.png').exists()
