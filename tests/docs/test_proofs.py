"""The pages' long scripts run with the least work: as they are, but for a few of their numbers."""

import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
from pages import PROOF, commands, each
from shell import run_script

pytestmark = pytest.mark.slow

COMMANDS = [command for command in commands() if PROOF.match(command)]


class Less(NamedTuple):
    """What makes a script's work less: more arguments, other parts of its text; what it shows."""

    arguments: tuple[str, ...]
    changes: dict[str, str]
    shown: str  # in what it prints,
    left: str = ''  # or in this file


LESS = {
    'tests/configs/metafiles.py': Less(
        (),
        {
            'LISTED = [name for name in NAMES if name not in DEMO]': (
                "LISTED = ['imagenet/glnet_4g.py']"
            ),
            'path.write_text(': 'Path(path.name).write_text(',  # not into the repository
        },
        'Name: glnet_4g_in1k',
        'metafile.yml',
    ),
    'tests/configs/recipes.py': Less(
        (),
        {
            'for name in NAMES}': "for name in ['imagenet/glnet_4g.py']}",
            'RECIPES.write_text(': "Path('recipes.json').write_text(",  # not into the repository
        },
        '"built: lr 0.002, weight decay 0.05": "42 tensors of ',
        'recipes.json',
    ),
    'tests/deploy/export_proof.py': Less(
        (),
        {'dynamic=True, latency=True': 'backbone_alone=True'},
        'ONNX Runtime differs from torch by at most',
    ),
    'tests/training/hostile_files_proof.py': Less(('label maps',), {}, 'refused'),
    'tests/training/pretraining_proof.py': Less(
        ('proof',),
        {
            'STEPS, INTERVAL = 150, 50': 'STEPS, INTERVAL = 2, 1',
            "(folder / 'data')": "(folder / 'data', 12, 12, 64)",
            'set_num_threads(2)': 'set_num_threads(torch.get_num_threads())',
        },
        'Mask R-CNN, box / mask AP after every 1 steps:',
    ),
    'tests/models/any_size_proof.py': Less(('1',), {}, 'fcvit'),
    'tests/models/beside_others.py': Less(
        ('--dtype', 'float32', '--batch-size', '2', '--rounds', '1'),
        {
            "('Backbone', backbones), ": '',
            "('eval', 'train')": "('train',)",
            "    'convnext_t': (96, 192, 384, 768),\n": '',
            "    'pvtv2_b2': (64, 128, 320, 512),\n": '',
        },
        'x as fast as the literal one',
    ),
    'tests/models/leaks_proof.py': Less(
        ('detector',),
        {'STEPS, SETTLED = 300, 50': 'STEPS, SETTLED = 2, 1', 'leaks.LIMIT': '1'},
        'growth',
    ),
    'tests/models/numerical_safety_proof.py': Less(
        (), {'STEPS, SIZE = 200, 32': 'STEPS, SIZE = 1, 32'}, 'all finite'
    ),
    'tests/models/side_by_side.py': Less(
        ('token mixer',),
        {
            'ROUNDS, THREADS = 5, 2': 'ROUNDS, THREADS = 1, 1',
            '1, model.out_channels[0], 200, 320': '1, model.out_channels[0], 25, 40',
        },
        'of the memory',
    ),
    'tests/compat/roi_align_speed.py': Less(
        (),
        {
            'ROUNDS = 5': 'ROUNDS = 1',
            '    (96, 104, 136, 2048, 27, 7),\n    (256, 200, 304, 1024, 30, 7),\n': '',
            '(256, 100, 152, 256, 29, 14)': '(8, 20, 30, 16, 9, 14)',
        },
        '(8, 20, 30, 16, 9, 14): ',
    ),
    'tests/compat/ops_speed.py': Less(
        (),
        {
            'ROUNDS = 5': 'ROUNDS = 1',
            'MAP = (1, 256, 64, 80)': 'MAP = (1, 256, 8, 10)',
            'torch.rand(1, 25, 128, 160)': 'torch.rand(1, 25, 16, 20)',
        },
        '| PSAMask, map of 49 x 49',
    ),
}


@each(COMMANDS)
def test_script(command: str, folder, small, capfd):
    _, script, *arguments = shlex.split(command)
    less = LESS[script]
    assert run_script(Path(script), [*arguments, *less.arguments], less.changes) == 0
    left = less.left and Path(less.left).read_text()
    assert less.shown in (left or capfd.readouterr().out)


def test_no_script_is_here_that_no_page_names():
    assert {shlex.split(command)[1] for command in COMMANDS} == set(LESS)
