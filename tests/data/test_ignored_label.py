"""Another ignored label than 255: one number for heads, data, padding and scores."""

import pytest
from mmengine.config import Config

from glmix_mm.config.ignored_label import share_ignored_label
from glmix_mm.errors import UserError


def make_config(head=None, data=None, metric=None, val_data=None):
    def own(label):
        return {} if label is None else dict(ignore_index=label)

    crop = [dict(type='RandomCrop', crop_size=64), dict(type='Pad', size=(64, 64), pad_val=7)]
    return Config(
        dict(
            default_scope='mmseg',
            model=dict(
                data_preprocessor=dict(seg_pad_val=255),
                decode_head=[
                    dict(kernel_generate_head=dict(type='FCNHead', num_classes=2)),
                    dict(
                        own(head),
                        loss_decode=[
                            dict(type='DiceLoss'),
                            dict(type='OhemCrossEntropy'),
                            dict(type='CrossEntropyLoss'),
                        ],
                    ),
                ],
                auxiliary_head=dict(),
            ),
            train_dataloader=dict(
                dataset=dict(type='RepeatDataset', dataset=dict(own(data), pipeline=crop))
            ),
            val_dataloader=dict(dataset=own(val_data)),
            val_evaluator=[dict(own(metric), type='IoUMetric'), dict(type='DumpResults')],
        )
    )


@pytest.mark.parametrize('stated', [dict(head=250), dict(data=250), dict(head=250, metric=250)])
def test_a_label_that_one_part_states_is_everyones(stated):
    cfg = make_config(**stated)
    (note,) = share_ignored_label(cfg)
    assert '250' in note and 'model.data_preprocessor.seg_pad_val' in note
    data = cfg.train_dataloader.dataset.dataset
    parts = [*cfg.model.decode_head, cfg.model.auxiliary_head, data, cfg.val_evaluator[0]]
    assert {part.ignore_index for part in [*parts, cfg.val_dataloader.dataset]} == {250}
    assert 'ignore_index' not in cfg.val_evaluator[1]
    assert cfg.model.data_preprocessor.seg_pad_val == 250
    assert data.pipeline[0].ignore_index == 250
    assert data.pipeline[1].pad_val == dict(img=7, seg=250)
    dice, hard, plain = cfg.model.decode_head[1].loss_decode
    assert (dice.ignore_index, hard.ignore_label, 'ignore_index' in plain) == (250, 250, False)
    assert cfg.model.decode_head[0].kernel_generate_head.ignore_index == 250
    assert share_ignored_label(cfg) == []  # all are told


def test_255_changes_nothing():
    cfg = make_config(metric=255)
    before = cfg.to_dict()
    assert share_ignored_label(cfg) == []
    assert cfg.to_dict() == before


def test_another_label_may_be_ignored_in_validation():
    cfg = make_config(head=250, metric=255)
    share_ignored_label(cfg)
    assert cfg.val_evaluator[0].ignore_index == 255
    assert cfg.train_dataloader.dataset.dataset.ignore_index == 250


@pytest.mark.parametrize('stated', [dict(head=250, data=255), dict(metric=250, val_data=0)])
def test_parts_that_disagree_are_named(stated):
    with pytest.raises(UserError) as caught:
        share_ignored_label(make_config(**stated))
    for label in stated.values():
        assert f'ignore_index={label}' in str(caught.value)
