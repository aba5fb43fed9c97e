"""tools/train.py and tools/test.py on a tiny classifier, from folders of images to accuracies."""

import json
import pickle

import golden
import numpy as np
import pytest
import torch
from mmpretrain import ImageClassificationInferencer
from PIL import Image
from runs import read_log, read_scores, test, train

from glmix_mm import load
from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.errors import UserError
from glmix_mm.inference.predict import main as predict
from glmix_mm.models.build import build_model
from glmix_mm.models.classifier import official_weights
from glmix_mm.training.train import main

SIZE = 32  # px: short side and crop of the test images, of 40 x 45
IMAGES = 8  # of each split


def predictions(path):
    return torch.stack([entry['pred_score'] for entry in pickle.loads(path.read_bytes())])


def test_training_averages_saves_and_resumes(nano_classifier, image_root, classifier_run, capsys):
    log = read_log(classifier_run)
    assert [(line['epoch'], line['step']) for line in log] == [(1, 1), (1, 2), (2, 3), (2, 4)]
    checkpoint = read_checkpoint(classifier_run / 'epoch_2.pth')
    # mmengine saves the average as the state dict, and the trained weights beside it.
    average, latest = checkpoint['state_dict'], checkpoint['ema_state_dict']
    key = 'backbone.stages.0.embed.0.weight'
    assert not torch.equal(average[key], latest[f'module.{key}'])
    assert 'accuracy/top1' in max(classifier_run.glob('*/vis_data/scalars.json')).read_text()

    options = ('--resume', '--cfg-options', 'train_cfg.max_epochs=3')
    assert train(nano_classifier, image_root, classifier_run, *options) == 0
    assert f'Resuming from {classifier_run / "epoch_2.pth"}' in capsys.readouterr().out
    assert [(line['epoch'], line['step']) for line in read_log(classifier_run)] == [(3, 5), (3, 6)]


@pytest.mark.parametrize('options', [(), ('--fuse',)], ids=str)
def test_the_average_is_scored(options, nano_classifier, image_root, classifier_run, tmp_path):
    checkpoint, out = classifier_run / 'epoch_2.pth', tmp_path / 'out.pkl'
    pictures = tmp_path / 'pictures'
    options = (*options, '--out', out, '--show-dir', pictures)
    assert test(nano_classifier, str(checkpoint), image_root, tmp_path / 'wd', *options) == 0
    entries = pickle.loads(out.read_bytes())
    assert len(entries) == len(list(pictures.rglob('*.png'))) == IMAGES
    right = np.mean([int(entry['pred_label'] == entry['gt_label']) for entry in entries])
    assert read_scores(tmp_path / 'wd')['accuracy/top1'] == pytest.approx(100 * right)

    model = build_model(load_config(nano_classifier)).eval()
    model.load_state_dict(read_checkpoint(checkpoint)['state_dict'])
    images = [
        np.asarray(
            Image.open(entry['img_path']).resize((SIZE * 45 // 40, SIZE), Image.Resampling.BICUBIC)
        )
        for entry in entries
    ]
    left = (images[0].shape[1] - SIZE) // 2
    batch = torch.stack([torch.as_tensor(i[:, left : left + SIZE].copy()) for i in images])
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    with torch.no_grad():
        scores = model(((batch - mean) / std).permute(0, 3, 1, 2)).softmax(1)
    torch.testing.assert_close(predictions(out), scores, rtol=0, atol=1e-4)


@pytest.fixture(scope='module')
def official(tmp_path_factory):
    """Return the path of FCViT-tiny's checkpoint in the official layout, of two classes."""
    state = golden.official_state('fcvit_tiny')
    state['head.weight'], state['head.bias'] = state['head.weight'][:2], state['head.bias'][:2]
    path = tmp_path_factory.mktemp('official') / 'fcvit_tiny.pth'
    torch.save(dict(model={key: value.float() for key, value in state.items()}), path)
    return str(path)


def test_official_weights_are_scored_and_trained_on(
    fcvit_classifier, official, image_root, tmp_path
):
    out = tmp_path / 'out.pkl'
    assert test(fcvit_classifier, official, image_root, tmp_path / 'wd', '--out', out) == 0
    model = build_model(load_config(fcvit_classifier)).eval()
    model.load_state_dict(official_weights(model, torch.load(official), official))
    dark = predictions(out)[: IMAGES // 2]
    gap = dark[:, 0].log() - dark[:, 1].log()
    assert gap.std() > 0, 'the images differ'

    # With a learning rate of nothing, training from the same file changes no weight.
    config = str(tmp_path / 'from_official.py')
    load_config(fcvit_classifier, {'load_from': official, 'optim_wrapper.optimizer.lr': 0}).dump(
        config
    )
    arguments = [config, '--data-root', str(image_root), '--work-dir', str(tmp_path / 'train')]
    assert run(main, arguments) == 0
    trained = read_checkpoint(tmp_path / 'train' / 'epoch_2.pth')['state_dict']
    for key, parameter in model.named_parameters():
        torch.testing.assert_close(trained[key], parameter.data, rtol=0, atol=0)


def test_a_checkpoint_of_another_classifier(
    nano_classifier, official, image_root, tmp_path, capsys
):
    assert test(nano_classifier, official, image_root, tmp_path / 'wd') == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert 'does not fit' in last and '(ImageClassifier with GLNet nano)' in last
    assert not (tmp_path / 'wd').exists()


def test_another_class_count_and_missing_labels(nano_classifier, image_root, tmp_path, capsys):
    options = ('--cfg-options', 'model.head.num_classes=1000')
    assert train(nano_classifier, image_root, tmp_path / 'wd', *options) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert 'model.head.num_classes=1000' in last and '2 classes' in last
    options = ('--cfg-options', 'model.head.in_channels=64')
    assert train(nano_classifier, image_root, tmp_path / 'wd', *options) == 1
    assert 'model.head.in_channels is 64' in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / 'wd').exists()


def test_predictions_and_load_are_what_the_model_says(
    nano_classifier, image_root, classifier_run, tmp_path
):
    weights, out = str(classifier_run / 'epoch_2.pth'), tmp_path / 'out'
    images = sorted((image_root / 'imagenet/val').rglob('*.png'))
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'no image')
    arguments = [nano_classifier, weights, *map(str, [*images, broken]), '--out', str(out)]
    assert run(predict, arguments) == 1  # one was skipped
    content = json.loads((out / 'predictions.json').read_text())
    names = {entry['id']: entry['name'] for entry in content['categories']}
    assert list(names.values()) == ['dark', 'light']
    assert [entry['file_name'] for entry in content['images']] == list(map(str, images))
    inferencer = ImageClassificationInferencer(nano_classifier, weights, device='cpu')
    model = load(nano_classifier, weights, 'cpu')
    for image, entry, result in zip(images, content['images'], model(images), strict=True):
        found = [a for a in content['annotations'] if a['image_id'] == entry['id']]
        (expected,) = inferencer(str(image))
        assert names[found[0]['category_id']] == expected['pred_class']
        assert found[0]['score'] == pytest.approx(expected['pred_score'])
        assert sum(a['score'] for a in found) == pytest.approx(1)
        np.testing.assert_array_equal(result.pred_score.numpy(), expected['pred_scores'])
        drawn = model.draw(result, image)
        assert (drawn == np.asarray(Image.open(out / f'{image.stem}.png'))).all()
        assert torch.equal(model(Image.open(image)).pred_score, result.pred_score)
    assert model.classes == ['dark', 'light']
    with pytest.raises(UserError, match='to_coco is for detectors'):
        model.to_coco(result)


def test_official_weights_predict(fcvit_classifier, official, image_root):
    image = min((image_root / 'imagenet/val').rglob('*.png'))
    model = build_model(load_config(fcvit_classifier))
    state = official_weights(model, torch.load(official), official)
    loaded = load(fcvit_classifier, official, 'cpu')
    assert torch.equal(loaded.model.head.fc.weight, state['head.fc.weight'])
    assert loaded(image).pred_score.sum() == pytest.approx(1)


def test_a_video_is_no_image(nano_classifier, classifier_run, tmp_path, capsys):
    (tmp_path / 'film.mp4').write_bytes(b'')
    weights = str(classifier_run / 'epoch_2.pth')
    arguments = [nano_classifier, weights, str(tmp_path / 'film.mp4'), '--out', str(tmp_path)]
    assert run(predict, arguments) == 1
    assert 'film.mp4: is a video' in capsys.readouterr().err
