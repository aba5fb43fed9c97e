"""What a checkpoint records of itself beside its weights: its config, classes and progress."""

import ast
from collections.abc import Mapping

import numpy as np


def record_of(checkpoint: Mapping) -> Mapping:
    """Return the entry ``meta`` of a checkpoint, or {} where it has none."""
    meta = checkpoint.get('meta')
    return meta if isinstance(meta, Mapping) else {}


def trained_meta(checkpoint: Mapping) -> dict:
    """Return the classes and palette that a checkpoint records, where they are such.

    mmdet and mmseg 2.x recorded them as CLASSES and PALETTE, beside the rest.
    """
    record = record_of(checkpoint)
    meta = record.get('dataset_meta') or record
    meta = meta if isinstance(meta, Mapping) else {}
    found = {}
    for key, are in dict(classes=_are_names, palette=_are_colours).items():
        value = meta.get(key, meta.get(key.upper()))
        value = value.tolist() if isinstance(value, np.ndarray) else value
        if are(value):
            found[key] = value
    return found


def _are_names(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)


def _are_colours(value: object) -> bool:
    def is_colour(item: object) -> bool:
        numbers = item if isinstance(item, (list, tuple)) else ()
        return len(numbers) == 3 and all(isinstance(n, int) and 0 <= n <= 255 for n in numbers)

    return isinstance(value, (list, tuple)) and all(map(is_colour, value))


def describe_model(model: Mapping) -> str:
    """Return what a model's config says it is, such as 'MaskRCNN with GLNet 4g'."""
    kind, backbone = str(model.get('type')), model.get('backbone')
    if not isinstance(backbone, Mapping) or not backbone.get('type'):
        return kind
    arch = backbone.get('arch')
    return f'{kind} with {backbone["type"]}' + (f' {arch}' if isinstance(arch, str) else '')


def describe_origin(checkpoint: Mapping) -> str:
    """Return what a checkpoint's own record says it is, or '' where it has none."""
    meta = record_of(checkpoint)
    model = model_settings(meta)
    if not model:
        return ''
    progress = f', epoch {meta.get("epoch")}, iteration {meta["iter"]}' if 'iter' in meta else ''
    return describe_model(model) + progress


def model_settings(meta: Mapping) -> dict:
    """Return the entry ``model`` of the config in a checkpoint's record."""
    found = settings_of(meta).get('model')
    return found if isinstance(found, dict) else {}


def settings_of(meta: Mapping) -> dict:
    """Return the config in a checkpoint's record; it is read, not run.

    What is not a literal in it becomes None.
    """
    try:
        return {
            ast.unparse(statement.targets[0]): _literal(statement.value)
            for statement in ast.parse(meta.get('cfg') or meta.get('config') or '').body
            if isinstance(statement, ast.Assign)
        }
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return {}


def _literal(node: ast.expr):
    """Return the value of a literal, or of ``dict(...)`` of literals; None for anything else."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict':
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {_literal(k): _literal(v) for k, v in zip(node.keys, node.values, strict=True) if k}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(item) for item in node.elts]
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return None
