"""The page itself, with NiceGUI: its scripts and fonts come from this machine."""

import asyncio
import base64
import signal
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import cv2
import numpy as np
from nicegui import app, events, run, ui
from starlette.formparsers import MultiPartParser
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse

from ..errors import UserError
from ..slots.slot_panel import draw_heat, draw_strongest, resized
from ..training.signals import SIGNALS, Interrupted
from ..utils.messages import one_line
from .viewer import LIMITS, MAX_BYTES, Viewer, read_upload, slots_at

SHOWN = 1000  # pixels of the longer side of a picture on the page
OF_FORM = 10**5  # bytes that a form may have besides the file
COLUMNS = 'display: grid; gap: 1.5rem; grid-template-columns: ' + (
    'repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); width: 100%; max-width: 90rem; margin: auto'
)

ROW = 'width: 100%; flex-wrap: nowrap; align-items: center; cursor: pointer; padding: 0.5rem 0'
# The uploader counts bytes of files that are gone at once, and leaves room for a list of them.
CSS = '.q-uploader__subtitle { display: none } .q-uploader__list { min-height: 3rem }'


class Turns:
    """Lets visitors compute one after the other, in the order in which they asked."""

    def __init__(self):
        self.lock = asyncio.Lock()
        self.waiting = 0


class Visit:
    """One visitor's page, and the picture that is looked at."""

    def __init__(self, viewer: Viewer, turns: Turns, examples: Sequence[Path]):
        self.viewer, self.turns = viewer, turns
        self.name, self.image, self.sample, self.shares = '', None, None, None
        ui.add_css(CSS)
        ui.label(viewer.title).style('font-size: 1.3rem')
        with ui.element().style(COLUMNS):
            with ui.column():
                self._build_prediction(examples)
            if viewer.blocks:
                with ui.column():
                    self._build_slots()

    def _build_prediction(self, examples: Sequence[Path]) -> None:
        self.upload = ui.upload(
            label=f'Drop a picture here, or press + (up to {LIMITS})',
            auto_upload=True,
            max_file_size=MAX_BYTES,
            on_upload=self.take_upload,
            on_rejected=lambda: self.say(f'Not taken: pictures may have up to {LIMITS}.'),
        )
        self.upload.on('failed', lambda: self.say('The upload failed.'), args=[])
        self.upload.style('width: 100%').props('flat bordered')
        if examples:
            with ui.row().style('align-items: center; gap: 0.5rem'):
                ui.label('or an example:')
                for path in examples:
                    ui.button(path.name, on_click=partial(self.take_file, path)).props(
                        'flat dense no-caps'
                    )
        self.status = ui.label()
        with ui.column().style('width: 100%') as self.shown:
            self.picture = ui.image().style('width: 100%')
            with ui.row().style('width: 100%; flex-wrap: nowrap; align-items: center') as scores:
                ui.label('least score').style('white-space: nowrap')
                self.score = ui.slider(min=0, max=1, step=0.01, value=0.3).props('label')
                self.score.on('change', self.draw, args=[])
            scores.set_visibility(self.viewer.library == 'mmdet')
            with ui.row():
                files = ['picture', 'json', 'label map']
                for place, label in enumerate(files[: 3 if self.viewer.library == 'mmseg' else 2]):
                    click = partial(self.download, place)
                    ui.button(label, icon='download', on_click=click).props('outline no-caps')
            self.found = ui.label()
            self.found.style('white-space: pre-line; max-height: 16rem; overflow-y: auto')
        self.shown.set_visibility(False)

    def _build_slots(self) -> None:
        viewer = self.viewer
        stage = max(viewer.blocks)
        with ui.row():
            self.stage = ui.select(list(viewer.blocks), value=stage, label='stage')
            self.block = ui.select(
                viewer.blocks[stage], value=viewer.blocks[stage][-1], label='block'
            )
            names = {
                i: f'{g[0]} x {g[1]}' if g else "the model's own"
                for i, g in enumerate(viewer.grids)
            }
            self.grid = ui.select(names, value=0, label='slots')
        self.grid.set_enabled(len(viewer.grids) > 1)
        for select in (self.stage, self.block, self.grid):
            select.style('min-width: 6rem')
        self.stage.on_value_change(self.choose_stage)
        self.block.on_value_change(self.compute_shares)
        self.grid.on_value_change(self.compute_all)
        self.map = ui.interactive_image(on_mouse=self.click, cross=True).style('width: 100%')
        self.map.classes('slot-map')
        self.caption = ui.label('Take a picture, then click on a place in it.')
        self.slots = ui.column().style('width: 100%; gap: 0')

    def say(self, text: str) -> None:
        """Show a message for some seconds, and keep it below the upload."""
        self.status.set_text(text)
        ui.notify(text, type='warning', multi_line=True)

    async def compute(self, work: Callable, *args: object) -> object:
        """Return what ``work(*args)`` returns, once it is this visitor's turn; None if it fails."""
        turns = self.turns
        self.status.set_text(f'waiting: {turns.waiting} before you' if turns.waiting else '')
        turns.waiting += 1
        try:
            async with turns.lock:
                self.status.set_text('computing')
                found = await run.io_bound(work, *args)
            self.status.set_text('')
            return found
        except UserError as error:
            self.say(one_line(error))
        except Exception as error:  # the page continues, for this visitor and for the others
            traceback.print_exc()
            self.say(f'This picture does not work: {type(error).__name__}: {one_line(error)}')
        finally:
            turns.waiting -= 1

    async def take_upload(self, event: events.UploadEventArguments) -> None:
        """Look at an uploaded picture."""
        self.upload.reset()
        await self.take(await event.file.read(), event.file.name)

    async def take_file(self, path: Path) -> None:
        """Look at an example."""
        await self.take(await run.io_bound(path.read_bytes), path.name)

    async def take(self, data: bytes, name: str) -> None:
        """Look at a picture, a file's content."""
        image = await self.compute(read_upload, data, name)
        if image is None:
            return
        self.image, self.name = image, name
        await self.compute_all()

    async def compute_all(self) -> None:
        """Predict, and find the slots, with the slot grid that is chosen."""
        if self.image is None:
            return
        self.sample = await self.compute(self.viewer.predict, self.image, self.chosen_grid())
        await self.draw()
        await self.compute_shares()

    def chosen_grid(self) -> tuple[int, int] | None:
        """Return the slot grid that is chosen."""
        return self.viewer.grids[self.grid.value] if self.viewer.blocks else None

    async def draw(self) -> None:
        """Draw what was found, with the least score that is chosen."""
        self.shown.set_visibility(self.sample is not None)
        if self.sample is None:
            return
        draw = self.viewer.predictor.draw
        drawn = await self.compute(draw, self.sample, self.image, self.score.value)
        if drawn is not None:
            self.picture.set_source(to_url(shrunk(drawn)))
            self.found.set_text('\n'.join(self.viewer.summary(self.sample, self.score.value)))

    async def download(self, place: int) -> None:
        """Give the visitor a file, as ``glmix predict`` writes it."""
        args = (self.image, self.sample, self.name, self.score.value)
        files = await self.compute(self.viewer.files, *args)
        if files is not None:
            name, content = list(files.items())[place]
            ui.download.content(content, Path(name).name)

    async def choose_stage(self) -> None:
        """Offer the blocks of the stage that is chosen, and take the last one."""
        numbers = self.viewer.blocks[self.stage.value]
        self.block.set_options(numbers, value=numbers[-1])

    async def compute_shares(self) -> None:
        """Find the slots of the block that is chosen."""
        if self.image is None or not self.viewer.blocks:
            return
        args = (self.image, self.block.value, self.chosen_grid())
        self.shares = await self.compute(self.viewer.shares, *args)
        self.slots.clear()
        self.map.set_content('')
        if self.shares is None:
            self.caption.set_text('')
            return
        self.photo = shrunk(self.image)
        picture, sizes, _ = draw_strongest(self.shares, self.photo.shape[:2])
        self.map.set_source(to_url((0.5 * picture + 0.5 * self.photo).astype(np.uint8)))
        seen = f'{np.count_nonzero(sizes)} of {len(sizes)} slots'
        self.caption.set_text(f'Colours: the strongest slot, {seen}. Click on a place.')

    def click(self, event: events.MouseEventArguments) -> None:
        """Show the slots that hold the place that was clicked on."""
        if self.shares is None:
            return
        height, width = self.photo.shape[:2]
        found = slots_at(self.shares, event.image_x / width, event.image_y / height)
        self.map.set_content(
            f'<circle cx="{event.image_x}" cy="{event.image_y}" r="{SHOWN // 80}" fill="none" '
            'stroke="white" stroke-width="4" style="mix-blend-mode: difference"/>'
        )
        self.slots.clear()
        with self.slots:
            for slot, share in found.items():
                with ui.row().style(ROW) as row:
                    ui.label(f'slot {slot}: {share:.2%}').style('width: 9rem')
                    ui.linear_progress(share / max(found.values()), show_value=False)
                for happens in ('mouseenter', 'click'):
                    row.on(happens, partial(self.show, slot), args=[])
        self.show(next(iter(found)))

    def show(self, slot: int) -> None:
        """Show a slot's region."""
        share = self.shares[slot]
        self.map.set_source(to_url(draw_heat(self.photo, share)))
        self.caption.set_text(
            f'Slot {slot} holds {share.min():.2%} (dark) to {share.max():.2%} (bright) of a place; '
            'outline: half-way.'
        )


class UploadLimit:
    """Refuses what is sent if it is larger than a picture may be, before it is read."""

    def __init__(self, app: Callable):
        self.app = app

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Answer a request, as ASGI has it."""
        app = self.app
        if scope['type'] == 'http' and scope['method'] not in ('GET', 'HEAD'):
            length = dict(scope['headers']).get(b'content-length', b'')
            if not length.isdigit() or int(length) > MAX_BYTES + OF_FORM:
                app = PlainTextResponse(f'Pictures may have up to {LIMITS}.', 413)
        await app(scope, receive, send)


def shrunk(image: np.ndarray) -> np.ndarray:
    """Return an image as large as it is shown."""
    height, width = image.shape[:2]
    factor = SHOWN / max(height, width)
    return resized(image, (max(1, round(factor * height)), max(1, round(factor * width))))


def to_url(picture: np.ndarray) -> str:
    """Return an RGB picture as an address that holds it."""
    _, data = cv2.imencode('.jpg', np.ascontiguousarray(picture[..., ::-1]))
    return 'data:image/jpeg;base64,' + base64.b64encode(data).decode()


def is_local(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def serve(viewer: Viewer, examples: Sequence[Path], host: str, port: int) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Raises:
        Interrupted: one of them came.
    """
    MultiPartParser.spool_max_size = MAX_BYTES + OF_FORM  # uploads are never written to a file
    app.add_middleware(UploadLimit)
    if is_local(host):  # another site's page cannot reach it under a name of its own
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[host, 'localhost', '127.0.0.1'])
    turns = Turns()
    received = []

    @ui.page('/')
    def page() -> None:
        Visit(viewer, turns, examples)

    def start() -> None:
        if received:  # before uvicorn took signals itself
            app.shutdown()
        else:
            print(f'http://{host}:{port}', flush=True)

    app.on_startup(start)
    # uvicorn ends the page and then raises the signal again, in the middle of asyncio's own end.
    for signum in SIGNALS:
        signal.signal(signum, lambda signum, _: received.append(signum))
    ui.run(
        host=host,
        port=port,
        title=viewer.title,
        reload=False,
        show=False,
        show_welcome_message=False,
    )
    if received:
        raise Interrupted(f'stopped by {signal.Signals(received[0]).name}', received[0])
