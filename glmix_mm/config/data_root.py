"""Points the data sets of a config at a folder."""

from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..errors import UserError
from ..utils.nested import SPLITS, unwrap


def apply_data_root(cfg: Config, root: str) -> None:
    """Point every data set of the config, and its evaluators, at a folder.

    Args:
        cfg: the config; its ``data_root`` entries and the evaluators' ``ann_file`` change.
        root: a folder in the layout that the config expects, or one that contains such a folder.
            The latter has the name at the end of the config's own ``data_root``: ``coco``,
            ``ADEChallengeData2016``, ``ade/ADEChallengeData2016`` or ``imagenet`` in the shipped
            configs.

    Raises:
        UserError: no such folder, or a path in the config is not relative to its ``data_root``.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        found = 'is not a folder' if folder.exists() else 'no such folder'
        raise UserError(f'--data-root {root}: {found} ({folder.absolute()})')
    for split in SPLITS:
        moved = {}
        loader = cfg.get(f'{split}_dataloader')
        for dataset in unwrap(loader.dataset) if loader else ():
            old = dataset.get('data_root') or ''
            moved[old] = dataset['data_root'] = str(_locate(folder, dataset))
        evaluators = cfg.get(f'{split}_evaluator') or []
        for evaluator in [evaluators] if isinstance(evaluators, dict) else evaluators:
            if evaluator.get('ann_file'):
                evaluator['ann_file'] = _move(evaluator['ann_file'], moved)


def _locate(folder: Path, dataset: ConfigDict) -> Path:
    """Return the folder, or the one within it, that holds most of what the data set names."""
    prefixes = dataset.get('data_prefix') or {}
    prefixes = prefixes.values() if isinstance(prefixes, dict) else [prefixes]
    named = [dataset.get('ann_file'), dataset.get('split'), *prefixes]
    named = [Path(path) for path in named if path]
    if any(path.is_absolute() for path in named):
        raise UserError(
            f'--data-root {folder} cannot move {dataset.type}: its ann_file and data_prefix must '
            f'be relative to data_root, found {", ".join(map(str, named))}'
        )
    parts = Path(dataset.get('data_root') or '').parts
    inner = [folder.joinpath(*parts[-n:]) for n in (1, 2) if len(parts) >= n]
    # Where nothing lies as named, a data set's own folder goes before the one that holds several.
    return max(
        [folder, *inner],
        key=lambda root: (
            sum((root / path).exists() for path in named),
            root != folder and root.is_dir(),
        ),
    )


def _move(path: str, moved: dict[str, str]) -> str:
    """Return a path below an old data root as one below the new."""
    for old, new in moved.items():
        if path.startswith(f'{new}/'):  # moved already: val and test share their evaluator
            return path
        if path.startswith(old):
            return str(Path(new) / path.removeprefix(old).lstrip('/'))
    raise UserError(
        f"--data-root: the evaluator's ann_file {path} is not below the data set's data_root "
        f'{" or ".join(moved)}; set val_evaluator.ann_file and test_evaluator.ann_file with '
        '--cfg-options instead'
    )
