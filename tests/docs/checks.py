"""What the pages' commands should leave and print, by the tool that they call."""

import hashlib
import json
import math
import re
import shlex
from pathlib import Path

from mmengine.config import Config
from pages import printed_after
from PIL import Image
from shell import Outcome
from stand_ins import PLACEHOLDERS
from torch.distributed.run import get_args_parser

from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.profiling.ablate import STUDIES
from glmix_mm.utils.parsers import MODELS

SCORES = dict(maskrcnn='coco/segm_mAP', semfpn='mIoU', upernet='mIoU', glnet='accuracy/top1')
TOOL = re.compile(r'tools/slurm_(\w+)\.|glmix(?:_mm)? ([\w-]+)')


def check(command: str, outcome: Outcome) -> None:
    """Check what came of a command; each tool has a check."""
    assert outcome.status == 0, outcome.err
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)]
    CHECKS[TOOL.search(command).expand(r'\1\2')](words, outcome)


def work_dir_of(words: list[str]) -> Path:
    if PLACEHOLDERS['WORK_DIR'] in words:
        return Path(PLACEHOLDERS['WORK_DIR'])
    return Path('work_dirs') / config_of(words).stem


def config_of(words: list[str]) -> Path:
    named = next(word for word in words if word.startswith(('configs/', *SCORES, 'imagenet/')))
    return Path(named).with_suffix('.py')


def check_started(words: list[str], started: list[str]) -> None:
    """Check that as many processes as the command says would have been started."""
    given = dict(word.split('=') for word in words if re.match('[A-Z_]+=', word))
    if started[0] == 'mpirun':
        assert started == words
    elif started[0] == 'srun':
        text = ' '.join(started)
        name, partition = PLACEHOLDERS['NAME'], PLACEHOLDERS['PARTITION']
        assert f'--partition {partition} --job-name {name} ' in text
        assert f'--ntasks {given["GPUS"]} --ntasks-per-node 8 --gres gpu:8 ' in text
        assert text.endswith('--launcher slurm --auto-scale-lr')
    else:
        assert started[0] == 'torchrun'
        read = get_args_parser().parse_args(started[1:])
        assert '--launcher' in read.training_script_args
        assert read.nproc_per_node == '8'
        assert read.nnodes == ('8' if '--nnodes' in words else '1:1')


def check_train(words: list[str], outcome: Outcome) -> None:
    if outcome.started:
        check_started(words, outcome.started)
    folder = work_dir_of(words)
    (checkpoint,) = [*folder.glob('epoch_2.pth'), *folder.glob('iter_2.pth')]
    content = read_checkpoint(checkpoint)
    assert content['meta']['iter'] == 2 and content['optimizer']
    log = max(folder.glob('*/vis_data/scalars.json')).read_text()
    losses = [entry['loss'] for entry in map(json.loads, log.splitlines()) if 'loss' in entry]
    resumed = '--resume' in words and words[0] != 'torchrun'  # which starts with it
    assert len(losses) == (1 if resumed else 2) and all(map(math.isfinite, losses))
    assert '(val) [2' in outcome.out
    assert ('scaled linearly from' in outcome.out) == ('--auto-scale-lr' in words)
    assert ('planned: 32 x 1 GPUs x 1 accumulated' in outcome.out) == ('--mem' in words)
    if '--classes-from-data' in words:
        assert content['meta']['dataset_meta']['classes'][-1] == 'label 6'
    if resumed:
        assert f'Resuming from {folder}/epoch_1.pth' in outcome.out


def check_test(words: list[str], outcome: Outcome) -> None:
    if outcome.started:
        check_started(words, outcome.started)
    folder, score = work_dir_of(words), SCORES[config_of(words).name.split('_')[0]]
    (path,) = folder.glob('*/2*.json')
    assert math.isfinite(json.loads(path.read_text())[score])
    cfg = Config.fromfile(path.parent / config_of(words).name)  # beside its log
    if '--cfg-options' in words:
        expected = (12, 16) if '(12,16)' in words[-1] else dict(cell=28)
        assert cfg.model.backbone.slot_grid == expected


def check_export(words: list[str], outcome: Outcome) -> None:
    out = PLACEHOLDERS['OUT.onnx']
    assert {out, 'run_onnx.py'} <= set(outcome.out.splitlines()) and Path(out).is_file()
    assert 'ONNX Runtime differs from torch by at most' in outcome.out


def check_predict(words: list[str], outcome: Outcome) -> None:
    results = json.loads(Path('predictions/predictions.json').read_text())
    photos = sorted(Path('photos').iterdir())
    assert sorted(image['file_name'] for image in results['images']) == [*map(str, photos)]
    assert results['annotations']
    for path in photos:
        assert Image.open(f'predictions/{path.stem}.png').size == Image.open(path).size
    if 'clip.mp4' in words:
        frames = Path('predictions/clip.jsonl').read_text().splitlines()
        assert len(frames) == 2 and Path('predictions/clip.mp4').stat().st_size > 1000


def check_ablate(words: list[str], outcome: Outcome) -> None:
    rows = [f'{study}: {choice}  ' for study, choices in STUDIES.items() for choice in choices]
    shown = printed_after('glmix ablate --device cpu --rounds 9', 'docs/ablations.md')
    for lines in (outcome.out.splitlines(), shown):
        found = [row for line in lines for row in rows if line.startswith(row)]
        assert found == rows


def check_benchmark(words: list[str], outcome: Outcome) -> None:
    given = words[2 : next((i for i, w in enumerate(words) if w.startswith('--')), None)]
    rows = outcome.out.splitlines()
    for model in given or MODELS:
        row = next(line for line in rows if line.startswith(f'{model} '))
        assert 'failed' not in row
    if '--png' in words:
        assert Image.open(words[words.index('--png') + 1]).width > 500


def check_slot_grids(words: list[str], outcome: Outcome) -> None:
    grids = words[words.index('--grids') + 1 : words.index('--block')]
    assert [line.split()[0] for line in outcome.out.splitlines()[2:-2]] == grids
    check_pictures(words, outcome)


def check_pictures(words: list[str], outcome: Outcome) -> None:
    pictures = [line for line in outcome.out.splitlines() if line.endswith('.png')]
    assert pictures and all(Image.open(path).width > 300 for path in pictures)
    if '--blocks' in words:
        blocks = {re.search(r'_block(\d+)\.png', path)[1] for path in pictures}
        assert blocks == set(words[words.index('--blocks') + 1 :])


def check_publish(words: list[str], outcome: Outcome) -> None:
    (path,) = Path(words[-1]).parent.iterdir()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f'{Path(words[-1]).stem}-{digest[:8]}.pth'
    assert outcome.out.startswith(f'{path}: ')


def check_doctor(words: list[str], outcome: Outcome) -> None:
    config = 'maskrcnn_glnet_4g_3x' if words[-1] == 'doctor' else words[-1]
    assert outcome.out.endswith(f'Training {config} can start.\n')


def check_data(words: list[str], outcome: Outcome) -> None:
    assert 'label 1' in outcome.out and 'Train on it: glmix train ' in outcome.out


def check_config(words: list[str], outcome: Outcome) -> None:
    assert "+        type='SafeCheckpointHook')," in outcome.out.splitlines()


CHECKS = {
    'ablate': check_ablate,
    'benchmark': check_benchmark,
    'check-data': check_data,
    'config': check_config,
    'doctor': check_doctor,
    'export': check_export,
    'plot-log': check_pictures,
    'predict': check_predict,
    'publish': check_publish,
    'slot-grids': check_slot_grids,
    'slots': check_pictures,
    'test': check_test,
    'train': check_train,
}
