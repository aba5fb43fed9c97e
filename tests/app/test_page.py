"""The page in a browser without a window: upload, slider, click; beside numbers from Python."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glmix_mm.app.viewer import to_png
from glmix_mm.config.load_config import load_config
from glmix_mm.slots.assignments import slot_assignments
from glmix_mm.slots.draw_slots import load_backbone, prepare_image
from glmix_mm.utils.pictures import read_image

ROOT = Path(__file__).parents[2]
REASON = 'nicegui, playwright or Chromium is not installed'
pytest.importorskip('nicegui', reason=REASON)
playwright = pytest.importorskip('playwright.sync_api', reason=REASON)
CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason=REASON),
]


@pytest.fixture(scope='module')
def photos(demo_root):
    return sorted((demo_root / 'coco' / 'val2017').iterdir())


def wait_until_it_listens(port):
    end = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(('127.0.0.1', port), timeout=20).close()
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.fixture(scope='module')
def serve(nano_detector, detector_weights, photos, tmp_path_factory):
    """Return what serves the page as a user does, and checks what a signal leaves."""

    @contextmanager
    def served(signum):
        with socket.create_server(('127.0.0.1', 0)) as probe:
            port = probe.getsockname()[1]
        words = [nano_detector, detector_weights, '--device', 'cpu', '--port', port, '--examples']
        words = [sys.executable, '-m', 'glmix_mm', 'app', *map(str, [*words, photos[1]])]
        folder = tmp_path_factory.mktemp('served')
        temporary = folder / 'temporary'
        temporary.mkdir()
        environment = dict(os.environ, PYTHONPATH=str(ROOT), TMPDIR=str(temporary))
        del environment['PYTEST_CURRENT_TEST']  # else nicegui would not serve
        with open(folder / 'err', 'w') as err:
            process = subprocess.Popen(
                words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=err, text=True
            )
            try:
                line = process.stdout.readline()
                assert line == f'http://127.0.0.1:{port}\n', (folder / 'err').read_text()
                wait_until_it_listens(port)  # uvicorn does a moment after the page's start
                yield line.strip()
                process.send_signal(signum)
                assert process.wait(60) == 128 + signum
            finally:
                process.kill()
        last = (folder / 'err').read_text().splitlines()[-1]
        assert last == f'stopped by {signum.name}'
        assert 'Traceback' not in (folder / 'err').read_text()
        assert not [path for path in temporary.rglob('*') if path.is_file()]

    return served


@pytest.fixture(scope='module')
def address(serve):
    with serve(signal.SIGINT) as address:
        yield address


@pytest.fixture(scope='module')
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    page = browser.new_page(viewport=dict(width=1280, height=900))
    page.set_default_timeout(60_000)
    page.asked = []
    page.on('request', lambda request: page.asked.append(request.url))
    page.goto(address)
    yield page
    elsewhere = [url for url in page.asked if not url.startswith((address, 'data:', 'blob:'))]
    assert page.asked and not elsewhere
    page.close()


def send(page, name, content):
    file = dict(name=name, mimeType='image/png', buffer=content)
    page.locator('input[type=file]').set_input_files(file)


def upload(page, path):
    send(page, path.name, path.read_bytes())
    page.get_by_text('Colours: the strongest slot').wait_for()


def downloaded(page, label):
    with page.expect_download() as found:
        page.get_by_role('button', name=label).click()
    return Path(found.value.path())


def number_found(page):
    return int(re.search(r'(\d+) found with', page.inner_text('body'))[1])


def test_the_slider_and_the_files(page, photos):
    upload(page, photos[0])
    assert Image.open(downloaded(page, 'picture')).size == Image.open(photos[0]).size
    slider = page.locator('.q-slider')
    counts = []
    ends = (1, slider.bounding_box()['width'] - 1)
    for x, text in zip(ends, ('score of 0.00 or', 'score of 1.00 or'), strict=True):
        slider.click(position=dict(x=x, y=10))
        page.get_by_text(text).wait_for()
        counts.append(number_found(page))
        written = json.loads(downloaded(page, 'json').read_text())
        assert len(written['annotations']) == counts[-1]
        assert written['images'][0]['file_name'] == photos[0].name
    assert counts[0] > counts[1] == 0


def test_the_slots_of_a_place(page, photos, nano_detector, detector_weights):
    upload(page, photos[0])
    cfg = load_config(nano_detector)
    backbone = load_backbone(cfg, '', detector_weights)
    inputs = prepare_image(read_image(photos[0]), cfg)
    block = int(page.get_by_label('block').input_value())
    shares = slot_assignments(backbone, inputs, [block])[block][0].numpy()
    picture = page.locator('.slot-map img')
    box = picture.bounding_box()
    for x, y in ((0.13, 0.12), (0.43, 0.69), (0.88, 0.31)):
        picture.click(position=dict(x=x * box['width'], y=y * box['height']))
        here = shares[:, int(y * shares.shape[1]), int(x * shares.shape[2])]
        best = here.argmax()
        page.get_by_text(f'Slot {best} holds {shares[best].min():.2%} (dark)').wait_for()
        assert page.get_by_text(f'slot {best}: {here[best]:.2%}').count() == 1
    second = (-here).argsort(kind='stable')[1]
    page.get_by_text(f'slot {second}: ').hover()
    page.get_by_text(f'Slot {second} holds').wait_for()


def test_fewer_slots(page, photos):
    upload(page, photos[0])
    page.get_by_label('slots').click()
    page.get_by_role('option', name='4 x 4').click()
    page.get_by_text('of 16 slots').wait_for()


def test_what_is_refused_and_the_page_continues(page, photos, tmp_path):
    send(page, 'notes.png', b'not a picture')
    page.get_by_text('notes.png: not a picture').first.wait_for()
    (tmp_path / 'large.png').write_bytes(bytes(21 * 10**6))
    page.locator('input[type=file]').set_input_files(tmp_path / 'large.png')
    page.get_by_text('Not taken: pictures may have up to 20 MB').first.wait_for()
    page.get_by_role('button', name=photos[1].name).click()
    page.get_by_text('Colours: the strongest slot').wait_for()


def test_a_large_picture(page):  # Starlette's own way is a file, for more than 1 MB
    noise = np.random.default_rng(0).integers(0, 256, (800, 1000, 3), np.uint8)
    send(page, 'noise.png', to_png(noise))
    page.get_by_text('Colours: the strongest slot').wait_for()


def test_two_visitors_at_once(browser, address, photos):
    pages = [browser.new_page() for _ in range(2)]
    for page in pages:
        page.goto(address)
    for page, photo in zip(pages, photos, strict=False):
        send(page, photo.name, photo.read_bytes())
    for page in pages:
        page.get_by_text('Colours: the strongest slot').wait_for(timeout=60_000)
        page.close()


def test_sigterm_ends_it_while_somebody_looks(serve, browser, photos):
    with serve(signal.SIGTERM) as address:
        page = browser.new_page()
        page.goto(address)
        upload(page, photos[0])
    page.close()


def test_it_fits_on_a_telephone(page, photos):
    page.set_viewport_size(dict(width=390, height=800))
    upload(page, photos[0])
    assert page.evaluate('document.documentElement.scrollWidth') <= 390


def test_another_host_and_too_much_are_refused(address):
    host, port = address.removeprefix('http://').split(':')

    def answer(request):
        with socket.create_connection((host, int(port)), timeout=20) as link:
            link.sendall(request.encode())
            return link.recv(100).split(b'\r\n')[0]

    assert b'200' in answer(f'GET / HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n')
    assert b'400' in answer('GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n')
    start = f'POST / HTTP/1.1\r\nHost: {host}\r\n'
    assert b'413' in answer(f'{start}Content-Length: 30000000\r\n\r\n')
    assert b'413' in answer(f'{start}Transfer-Encoding: chunked\r\n\r\n')
