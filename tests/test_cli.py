"""How the command lines end: status, and last line of stderr."""

import argparse
import logging
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from mmengine.logging import print_log
from mmengine.registry import FUNCTIONS, DefaultScope

from glmix_mm.cli import run
from glmix_mm.errors import UserError
from glmix_mm.utils.arguments import make_parser, parse
from glmix_mm.utils.messages import one_line

TOOLS = Path(__file__).parents[1] / 'tools'


def raiser(error):
    def main(argv):
        print('some output')
        raise error

    return main


def test_success_is_status_0(capsys):
    seen = []
    assert run(seen.extend, ['a', 'b']) == 0
    assert seen == ['a', 'b']
    assert capsys.readouterr().err == ''


def test_a_users_mistake_is_one_line_and_status_1(capsys):
    assert run(raiser(UserError('no such thing:\n  look elsewhere')), []) == 1
    assert capsys.readouterr().err == 'error: no such thing: look elsewhere\n'


def test_debug_adds_the_traceback(capsys):
    assert run(raiser(UserError('no such thing')), ['--debug']) == 1
    err = capsys.readouterr().err
    assert err.startswith('Traceback')
    assert err.endswith('error: no such thing\n')


def test_an_interruption_is_status_130(capsys):
    assert run(raiser(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr().err == 'interrupted\n'


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(raiser(ZeroDivisionError()), [])


def test_a_workers_error_is_its_last_line():
    # As torch's data loader words what a worker raised.
    message = (
        'Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent call '
        'last):\n  File "a.py", line 1, in f\nglmix_mm.errors.UserError: a.png: not an image\n'
    )
    assert one_line(UserError(message)) == 'a.png: not an image'


def test_options_are_read_and_their_errors_clear():
    parser = make_parser('Test.')
    args = parser.parse_args(['c.py', '--cfg-options', 'a.b=1', 'c=[1,2]', 'd=x=y', '--debug'])
    assert args.cfg_options == {'a.b': 1, 'c': [1, 2], 'd': 'x=y'}
    with pytest.raises(UserError, match=r'--cfg-options a\.b: .*KEY=VALUE'):
        parser.parse_args(['c.py', '--cfg-options', 'a.b'])
    with pytest.raises(UserError, match='brackets'):
        parser.parse_args(['c.py', '--cfg-options', 'a=[1,'])


def test_the_rank_goes_where_mmengine_looks_for_it(monkeypatch):
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    parser = make_parser('Test.')
    parse(parser, ['c.py', '--local_rank', '3'])
    assert os.environ['LOCAL_RANK'] == '3'
    parse(parser, ['c.py'])  # set by the launcher: stays
    assert os.environ.pop('LOCAL_RANK') == '3'


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit):
        make_parser('Test.').parse_args(['--help'])
    text = capsys.readouterr().out
    for option in ('--work-dir', '--data-root', '--cfg-options', '--launcher', '--debug'):
        assert option in text
    assert argparse.SUPPRESS not in text


def test_a_user_error_survives_pickling():
    # Data loaders and launchers hand exceptions from process to process.
    assert str(pickle.loads(pickle.dumps(UserError('x')))) == 'x'


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_the_tools_end_with_that_line_from_any_folder(tool, tmp_path):
    command = [sys.executable, TOOLS / tool, 'maskrcn_glnet_4g_3x.py', 'nothing.pth'][
        : 3 + (tool == 'test.py')
    ]
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('error: no such config: maskrcn_glnet_4g_3x.py')
    assert 'Traceback' not in done.stderr
    assert list(tmp_path.iterdir()) == []  # nothing was written


def test_warnings_that_mean_nothing_are_hidden(capsys):
    """mmengine's about registries that mmdet lacks, in every logger; others stay."""

    def main(argv):
        with (
            DefaultScope.overwrite_default_scope('mmdet'),
            FUNCTIONS.switch_scope_and_registry('mmdet'),
        ):
            print_log('a warning that matters', 'current', logging.WARNING)

    factory = logging.getLogRecordFactory()
    assert run(main, []) == 0
    out = capsys.readouterr().out
    assert 'a warning that matters' in out and 'registry' not in out
    assert logging.getLogRecordFactory() is factory
    assert run(main, ['--debug']) == 0
    assert 'Failed to search registry' in capsys.readouterr().out


@pytest.mark.parametrize('argv', [[], ['--debug']])
def test_warnings_that_a_user_cannot_act_on_are_shown_with_debug_only(argv):
    def main(argv):
        warnings.warn('``build_loss`` would be deprecated soon', stacklevel=1)
        warnings.warn('the disk is nearly full', stacklevel=1)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        assert run(main, argv) == 0
    shown = [str(one.message).split()[-1] for one in seen]
    assert shown == (['soon', 'full'] if argv else ['full'])
