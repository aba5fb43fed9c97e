"""Token labeling through the tools: training, scoring, publishing; and what stops it at once."""

import pickle

import pytest
import torch
from runs import read_log, test, train

from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.config.load_config import load_config
from glmix_mm.deploy.publish import publish
from glmix_mm.models.build import build_model


def test_trains_scores_and_publishes(token_label_classifier, token_label_root, tmp_path):
    work_dir, out = tmp_path / 'wd', tmp_path / 'out.pkl'
    assert train(token_label_classifier, token_label_root, work_dir) == 0
    log = read_log(work_dir)
    assert [line['step'] for line in log] == [1, 2, 3, 4]
    for line in log:
        assert line['loss'] == pytest.approx(line['loss_image'] + line['loss_dense'], rel=1e-4)
    assert 'accuracy/top1' in max(work_dir.glob('*/vis_data/scalars.json')).read_text()

    checkpoint = str(work_dir / 'epoch_2.pth')
    assert (
        test(token_label_classifier, checkpoint, token_label_root, tmp_path / 'test', '--out', out)
        == 0
    )
    assert len(pickle.loads(out.read_bytes())) == len(list((token_label_root / 'val').glob('*/*')))
    model = build_model(load_config(token_label_classifier))
    model.load_state_dict(read_checkpoint(checkpoint)['state_dict'])
    path, count = publish(checkpoint, tmp_path / 'nano.pth')
    assert count == len(model.backbone.state_dict()), 'neither head nor norm'
    published = torch.load(path, weights_only=True)['state_dict']
    assert torch.equal(
        published['stages.0.embed.0.weight'], model.backbone.stages[0].embed[0].weight
    )


@pytest.mark.parametrize(
    ('break_it', 'expected'),
    [
        (lambda path: path.unlink(), '1 of its 8 token labels'),
        (lambda path: torch.save(torch.zeros(3, 5, 7, 7), path), 'holds a tensor (3, 5, 7, 7)'),
        (lambda path: torch.save(torch.full((2, 5, 6, 6), 2.0), path), 'has class 2, expected'),
    ],
    ids=['missing', 'shape', 'class'],
)
def test_bad_labels_stop_it_before_it_starts(
    break_it, expected, token_label_classifier, token_label_root, tmp_path, capsys
):
    path = token_label_root / 'label_top5_train_nfnet' / 'light' / 'light1.pt'
    content = path.read_bytes()
    break_it(path)
    try:
        assert train(token_label_classifier, token_label_root, tmp_path / 'wd') == 1
    finally:
        path.write_bytes(content)
    err = capsys.readouterr().err
    assert 'Traceback' not in err
    assert expected in err.splitlines()[-1]
    assert not (tmp_path / 'wd').exists()
