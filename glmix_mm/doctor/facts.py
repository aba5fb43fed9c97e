"""Collects what the checks look at; standard library only."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

# Names under which pip knows what provides each module: the official packages, and their forks.
OFFICIAL = {
    'mmengine': ('mmengine',),
    'mmcv': ('mmcv', 'mmcv-lite'),
    'mmdet': ('mmdet',),
    'mmseg': ('mmsegmentation',),
    'mmpretrain': ('mmpretrain',),
}
FORKS = {
    'mmengine': ('onedl-mmengine',),
    'mmcv': ('onedl-mmcv',),
    'mmdet': ('onedl-mmdetection',),
    'mmseg': ('onedl-mmsegmentation',),
    'mmpretrain': ('onedl-mmpretrain',),
}
# All four put a module cv2 into the same folder.
OPENCV = tuple(f'opencv-{kind}' for kind in ('python', 'contrib-python'))
OPENCV += tuple(f'{name}-headless' for name in OPENCV)
OTHERS = ('glmix_mm', 'numpy', 'setuptools', 'torch', 'torchvision', *OPENCV)
LIMIT = 300  # seconds; importing everything took 8 to 15


def collect(config: str, data_root: str | None = None) -> dict:
    """Return what is known of this machine and Python.

    Args:
        config: of the job in question.
        data_root: folder of its data set.

    Returns:
        ``config`` and ``python``; ``distributions``, the version by pip's name or None; ``disk``,
        in bytes; ``driver``, whether NVIDIA's is installed. ``startup`` says whether the start-up
        hook is installed, and its setting in the environment. ``probe`` has the topics of
        ``probe.py``.
    """
    return dict(
        config=config,
        python=dict(version=list(sys.version_info[:3]), system=platform.platform()),
        distributions=distributions(),
        disk=disk(Path()),
        driver=shutil.which('nvidia-smi') is not None,
        startup=dict(
            installed='_glmix_mm_startup' in sys.modules, switch=os.environ.get('GLMIX_STARTUP')
        ),
        probe=run_probe(config, data_root),
    )


def distributions() -> dict[str, str | None]:
    """Return the version of each distribution that matters."""
    names = [name for family in (OFFICIAL, FORKS) for group in family.values() for name in group]
    return {name: _version(name) for name in (*names, *OTHERS)}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except Exception:  # not there, or its metadata are damaged
        return None


def disk(folder: Path) -> dict[str, int | None]:
    """Return the free bytes where checkpoints go, and of the memory that loaders share."""
    shared = Path('/dev/shm')
    return dict(
        free=shutil.disk_usage(folder).free,
        shared=shutil.disk_usage(shared).total if shared.is_dir() else None,
    )


def run_probe(config: str, data_root: str | None = None) -> dict[str, dict]:
    """Run ``probe.py`` and return its facts by topic, whatever becomes of its process."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    arguments = [config, *([data_root] if data_root else [])]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'facts'
        command = [sys.executable, str(Path(__file__).with_name('probe.py')), str(out), *arguments]
        try:
            ended = subprocess.run(command, capture_output=True, env=environment, timeout=LIMIT)
            end = f'Python ended with status {ended.returncode}'
        except subprocess.TimeoutExpired:
            end = f'it took more than {LIMIT} s'
        text = out.read_text(encoding='utf-8') if out.is_file() else ''
    return read_facts(text, end)


def read_facts(text: str, end: str) -> dict[str, dict]:
    """Return the facts of ``probe.py``'s lines; what began and did not end is an error.

    Args:
        text: the lines.
        end: how the process ended.
    """
    facts: dict[str, dict] = {}
    for line in text.splitlines():
        topic, found = json.loads(line)
        facts[topic] = dict(error=end, kind='Crash') if found is None else found
    return facts
