"""mmdet's COCO and VOC metrics with settings other than the defaults, and results as COCO has them.

mmdet's own stop at a list of thresholds and at ``proposal_fast``, and take 100, 300 and 1000
detections for granted in what they report.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from mmdet.datasets.api_wrappers import COCOeval, COCOevalMP
from mmdet.evaluation import CocoMetric, VOCMetric, bbox_overlaps, voc_classes
from mmdet.evaluation.functional.recall import _recalls
from mmengine.evaluator import BaseMetric
from mmengine.fileio import get_local_path, load
from mmengine.logging import print_log
from mmengine.registry import METRICS

from ..data.coco_by_name import CocoByName, category_ids
from ..errors import UserError
from ..utils.atomic_files import write_atomically
from .coco_results import category_numbers, coco_results

NUMBERS = [100, 300, 1000]  # of detections: mmdet's default
USUAL = 100  # detections per image that COCO's AP counts
NAMED = {'mAP_50': 0.5, 'mAP_75': 0.75}  # AP at one threshold
SIZES = {'s': 1, 'm': 2, 'l': 3}  # places in COCO's ranges of area


@METRICS.register_module()
class CheckedCocoMetric(CocoMetric):
    """mmdet's ``CocoMetric``, right for any ``iou_thrs``, ``proposal_nums``, ids and encoding.

    Annotations are read, and completed, as :class:`~glmix_mm.data.coco_by_name.CocoByName` does.
    Classes are matched with the file's categories by name, where mmdet goes by their order.
    With the defaults the scores are mmdet's, except for ``classwise``. There, mmdet's names are
    those of other classes unless the file numbers its categories in ascending order. With others,
    ``mAP`` is the mean over the given thresholds. ``mAP_50`` and ``mAP_75`` are left out if their
    threshold is not given. The N of ``AR@N`` are the given numbers. ``mAP`` counts 100 detections
    per image if 100 is among these; otherwise it counts the largest number, as all other AP do.

    Args:
        ann_file: COCO's json.
        iou_thrs: a threshold or several.
        proposal_nums: a number of detections or several.
        **kwargs: as mmdet's.

    Raises:
        UserError: ``metric_items`` names what is not scored, or ``format_only`` lacks the name of
            the files.
    """

    def __init__(self, *, ann_file=None, iou_thrs=None, proposal_nums=tuple(NUMBERS), **kwargs):
        if kwargs.get('format_only') and not kwargs.get('outfile_prefix'):
            raise UserError(
                'CocoMetric: format_only=True only writes files, so it needs their name: '
                "outfile_prefix='results/test' gives results/test.bbox.json"
            )
        thresholds = None if iou_thrs is None else np.atleast_1d(np.asarray(iou_thrs, float))
        numbers = np.atleast_1d(np.asarray(proposal_nums, int)).tolist()
        super().__init__(iou_thrs=thresholds, proposal_nums=numbers, **kwargs)
        if ann_file is not None:
            with get_local_path(ann_file, backend_args=self.backend_args) as path:
                self._coco_api = CocoByName(path)
        known = self._names()
        for name in self.metric_items or ():
            if name not in known:
                raise UserError(
                    f'CocoMetric: metric_items has {name}; expected some of {", ".join(known)}'
                )

    def _names(self) -> list[str]:
        """Return what is scored with these thresholds and numbers."""
        numbers = sorted(self.proposal_nums)
        at_one = [name for name, value in NAMED.items() if np.isclose(self.iou_thrs, value).any()]
        recalls = [f'AR@{number}' for number in numbers]
        recalls += [f'AR_{size}@{numbers[-1]}' for size in SIZES]
        return ['mAP', *at_one, *(f'mAP_{size}' for size in SIZES), *recalls]

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Take the predictions of a batch."""
        if self._coco_api is None and not all('instances' in sample for sample in data_samples):
            raise UserError(
                'CocoMetric has no ann_file to score against; give it the annotation file of '
                'test_dataloader.dataset'
            )
        super().process(data_batch, data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Score the predictions of all images."""
        if self.format_only:
            if self._coco_api is not None:
                self.cat_ids = category_ids(self._coco_api, self.dataset_meta['classes'])
            return super().compute_metrics(results)
        truth, found = zip(*results, strict=True)
        scores = {}
        with tempfile.TemporaryDirectory() as folder:
            prefix = self.outfile_prefix or f'{folder}/results'
            if self._coco_api is None:
                self._coco_api = CocoByName(self.gt_to_coco_json(truth, prefix))
            self.cat_ids = category_ids(self._coco_api, self.dataset_meta['classes'])
            self.img_ids = self._coco_api.get_img_ids()
            files = self.results2json(found, prefix)
            for metric in self.metrics:
                if metric == 'segm' and metric not in files:
                    raise UserError("CocoMetric: metric 'segm' needs masks, but the model has none")
                if metric != 'proposal_fast':
                    scores |= self._score(metric, load(files[metric]))
                    continue
                recalls = self.fast_eval_recall(found, self.proposal_nums, self.iou_thrs)
                names = [f'AR@{number}' for number in self.proposal_nums]
                scores |= dict(zip(names, recalls.tolist(), strict=True))
        return scores

    def _score(self, metric: str, found: list[dict]) -> dict[str, float]:
        """Return the scores of 'bbox', 'segm' or 'proposal'."""
        if not found:
            print_log('No image has a detection, so there is nothing to score', logger='current')
            return {}
        if metric == 'segm':  # else COCO takes the boxes' areas for the masks'
            found = [{key: one[key] for key in one if key != 'bbox'} for one in found]
        kind = 'segm' if metric == 'segm' else 'bbox'
        scores_with = COCOevalMP if self.use_mp_eval else COCOeval
        scoring = scores_with(self._coco_api, self._coco_api.loadRes(found), kind)
        params = scoring.params
        params.catIds, params.imgIds = self.cat_ids, self.img_ids
        params.iouThrs, params.maxDets = self.iou_thrs, sorted(self.proposal_nums)
        params.useCats = int(metric != 'proposal')
        scoring.evaluate()
        scoring.accumulate()
        values = self._values(scoring)
        recalls = [name for name in values if name.startswith('AR')]
        precisions = [name for name in values if name.startswith('mAP')]
        chosen = self.metric_items or (recalls if metric == 'proposal' else precisions)
        prefix = '' if metric == 'proposal' else f'{metric}_'
        scores = {f'{prefix}{name}': values[name] for name in chosen}
        if self.classwise and metric != 'proposal':
            # COCO has sorted the categories.
            precision = scoring.eval['precision'][:, :, :, 0, -1]
            for place, category in enumerate(self._coco_api.load_cats(params.catIds)):
                name = f'{category["name"]}_precision'
                scores[name] = _mean(precision[:, :, place], empty=float('nan'))
        return scores

    def _values(self, scoring: COCOeval) -> dict[str, float]:
        """Return all that can be read off COCO's tables, by name."""
        numbers, thresholds = scoring.params.maxDets, scoring.params.iouThrs
        # Axes: threshold, recall, category, area, number; and the same without recall.
        precision, recall = scoring.eval['precision'], scoring.eval['recall']
        usual = numbers.index(USUAL) if USUAL in numbers else -1
        values = dict(mAP=_mean(precision[:, :, :, 0, usual]))
        for name, value in NAMED.items():
            at = np.isclose(thresholds, value)
            if at.any():
                values[name] = _mean(precision[at, :, :, 0, -1])
        for size, place in SIZES.items():
            values[f'mAP_{size}'] = _mean(precision[:, :, :, place, -1])
        for place, number in enumerate(numbers):
            values[f'AR@{number}'] = _mean(recall[:, :, 0, place])
        for size, place in SIZES.items():
            values[f'AR_{size}@{numbers[-1]}'] = _mean(recall[:, :, place, -1])
        return values

    def fast_eval_recall(
        self, results: Sequence[dict], proposal_nums: Sequence[int], iou_thrs, logger=None
    ) -> np.ndarray:
        """Return the recall of boxes of any class at each number, the mean over the thresholds."""
        truth = []
        for result in results:  # each with its own image, whatever the file's order
            entries = self._coco_api.imgToAnns[result['img_id']]
            boxes = [one['bbox'] for one in entries if not (one.get('ignore') or one['iscrowd'])]
            boxes = np.array(boxes, np.float32).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            truth.append(boxes)
        found = [result['bboxes'][np.argsort(-result['scores'])] for result in results]
        return recalls(truth, found, proposal_nums, iou_thrs).mean(axis=1)


@METRICS.register_module()
class CheckedVOCMetric(VOCMetric):
    """mmdet's ``VOCMetric``, whose ``recall`` counts the boxes of all classes.

    Classes that are not Pascal's have their own names in the table.

    Args:
        iou_thrs: a threshold or several.
        proposal_nums: a number of detections or several.
        **kwargs: as mmdet's, without ``scale_ranges``.

    Raises:
        UserError: ``scale_ranges``, of which mmdet itself cannot report the scores.
    """

    def __init__(self, *, iou_thrs=0.5, proposal_nums=tuple(NUMBERS), **kwargs):
        if kwargs.get('scale_ranges'):
            raise UserError(
                'VOCMetric reports no scores for scale_ranges; remove it, or '
                'use CocoMetric, which scores small, medium and large objects'
            )
        thresholds = np.atleast_1d(np.asarray(iou_thrs, float)).tolist()
        numbers = np.atleast_1d(np.asarray(proposal_nums, int)).tolist()
        super().__init__(iou_thrs=thresholds, proposal_nums=numbers, **kwargs)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Take the predictions of a batch."""
        if not all('gt_instances' in sample for sample in data_samples):
            raise UserError(
                'VOCMetric takes the truth from the data; add '
                "dict(type='LoadAnnotations', with_bbox=True) to the test pipeline, after Resize"
            )
        super().process(data_batch, data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Score the predictions of all images."""
        if self.metric == 'mAP':
            if list(self.dataset_meta['classes']) != voc_classes():
                # mmdet's table would have the names of Pascal's classes.
                self.dataset_meta = dict(self.dataset_meta, dataset_type=None)
            return super().compute_metrics(results)
        found = [np.concatenate(by_class) for _, by_class in results]  # x1, y1, x2, y2, score
        found = [boxes[np.argsort(-boxes[:, 4]), :4] for boxes in found]
        truth = [image['bboxes'] for image, _ in results]
        table = recalls(truth, found, self.proposal_nums, self.iou_thrs, legacy=True)
        scores = {}
        for row, number in zip(table.tolist(), self.proposal_nums, strict=True):
            for value, threshold in zip(row, self.iou_thrs, strict=True):
                scores[f'recall@{number}@{threshold}'] = value
            if len(row) > 1:
                scores[f'AR@{number}'] = float(np.mean(row))
        return scores


def recalls(
    truth: Sequence[np.ndarray],
    found: Sequence[np.ndarray],
    numbers: Sequence[int],
    thresholds: Sequence[float],
    legacy: bool = False,
) -> np.ndarray:
    """Return the share of objects that are found, as mmdet's ``eval_recalls`` should.

    Args:
        truth: each image's boxes (n, 4), x1, y1, x2, y2.
        found: each image's boxes (k, 4), the best first.
        numbers: boxes of an image that count at most.
        thresholds: least IoU.
        legacy: whether a box's width is x2 - x1 + 1, as in Pascal VOC.

    Returns:
        (numbers, thresholds).
    """
    overlaps = np.empty(len(truth), dtype=object)  # mmdet's own array takes images of one size
    for place, (own, boxes) in enumerate(zip(truth, found, strict=True)):
        overlaps[place] = bbox_overlaps(own, boxes, use_legacy_coordinate=legacy)
    return _recalls(overlaps, np.array(numbers), np.array(thresholds))


def _mean(values: np.ndarray, empty: float = -1.0) -> float:
    """Return the mean of what COCO scored, to three places; ``empty`` where there is nothing."""
    scored = values[values > -1]
    return round(float(scored.mean()), 3) if scored.size else empty


@METRICS.register_module()
class CocoResults(BaseMetric):
    """Writes the detections of all images as COCO's results; scores nothing.

    Args:
        out_file_path: the json file.
        category_ids: the categories' numbers, by name.
        **kwargs: as mmengine's.

    Raises:
        UserError: the model gives no boxes.
    """

    default_prefix = 'results'

    def __init__(self, out_file_path: str, category_ids: Mapping[str, int], **kwargs):
        super().__init__(**kwargs)
        self.out_file_path, self.category_ids = out_file_path, category_ids

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Take the predictions of a batch."""
        numbers = category_numbers(self.dataset_meta['classes'], self.category_ids)
        for sample in data_samples:
            if 'pred_instances' not in sample:
                raise UserError(f'--out {self.out_file_path}: the model gives no boxes, try .pkl')
            found = sample['pred_instances']
            self.results.append(coco_results(found, sample['img_id'], numbers))

    def compute_metrics(self, results: list[list[dict]]) -> dict:
        """Write the file."""
        write_atomically(self.out_file_path, json.dumps([*chain.from_iterable(results)]).encode())
        print_log(f'Results written to {self.out_file_path}', logger='current')
        return {}
