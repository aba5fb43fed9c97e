"""Draws the pictures of architecture.md from a GLNet-4G: `python docs/draw_architecture.py`."""

from html import escape
from pathlib import Path

import torch

from glmix_mm.models import GLNet
from glmix_mm.models.glmix import GLMix
from glmix_mm.models.layers import Block

FOLDER = Path(__file__).parent
SIZE = 224  # px, of the image
LINE = 17  # px from a line of text to the next
DATA, LOCAL, GLOBAL, OTHER = '#e8e8e8', '#cfe3f7', '#fbdcc0', '#dcefd8'


def text(x: float, y: float, line: str, weight: str = 'normal') -> str:
    """Return a line of text, centred at x."""
    return f'<text x="{x:g}" y="{y:g}" font-weight="{weight}">{escape(line)}</text>'


def box(x: float, y: float, width: float, lines: list[str], colour: str) -> list[str]:
    """Return a box as high as its lines, the first of them bold; (x, y) is its upper left."""
    height = LINE * len(lines) + 12
    shape = (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height}" rx="6" fill="{colour}"/>'
    )
    texts = [
        text(x + width / 2, y + LINE * (i + 1) + 1, line, 'normal' if i else 'bold')
        for i, line in enumerate(lines)
    ]
    return [shape, *texts]


def arrow(*points: tuple[float, float]) -> list[str]:
    """Return an arrow through some points."""
    return [f'<polyline points="{" ".join(f"{x:g},{y:g}" for x, y in points)}"/>']


def svg(width: int, height: int, parts: list[str]) -> str:
    """Return the whole picture."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="13" text-anchor="middle">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#444"/></marker></defs>',
        '<style>rect{stroke:#444} polyline{fill:none;stroke:#444;marker-end:url(#tip)}</style>',
        f'<rect width="{width}" height="{height}" fill="white" style="stroke:none"/>',
    )
    return '\n'.join([*head, *parts, '</svg>']) + '\n'


def mixer_name(block: Block) -> str:
    """Return how the pictures call a block."""
    return 'GLMix' if isinstance(block.mixer, GLMix) else 'attention'


def blocks_of(blocks: list[Block]) -> str:
    """Return the blocks of a stage, in a line."""
    kinds = list(map(mixer_name, blocks))
    turn = list(dict.fromkeys(kinds))
    count = len(kinds) // len(turn)
    assert kinds == turn * count
    return f'{count} x {turn[0]}' if len(turn) == 1 else f'{count} x ({", ".join(turn)})'


def draw_network(model: GLNet) -> str:
    """Draw a detector or segmentor: image, stages, norms, neck, head."""
    with torch.no_grad():
        maps = model(torch.zeros(1, 3, SIZE, SIZE))
    width, gap, left = 164, 32, 142
    parts = box(10, 19, 100, ['image', f'3 x {SIZE} x {SIZE}'], DATA)
    for i, (stage, out) in enumerate(zip(model.stages, maps, strict=True)):
        x = left + i * (width + gap)
        middle = x + width / 2
        lines = [f'stage {i + 1}', f'stride {SIZE // out.shape[2]}', blocks_of(stage.blocks)]
        parts += arrow((x - gap, 42), (x, 42)) + box(x, 10, width, lines, OTHER)
        norm = type(getattr(model, f'norm{i}')).__name__
        parts += arrow((middle, 73), (middle, 100)) + box(x, 100, width, ['norm', norm], OTHER)
        size = ' x '.join(map(str, out.shape[1:]))
        parts += arrow((middle, 146), (middle, 173)) + box(x, 173, width, [f'map {i}', size], DATA)
        parts += arrow((middle, 219), (middle, 246))
    total = 4 * width + 3 * gap
    parts += box(left, 246, total, ['neck', 'FPN (UperNet has none)'], DATA)
    parts += arrow((left + total / 2, 292), (left + total / 2, 319))
    heads = 'RetinaNet, Mask R-CNN, Cascade Mask R-CNN, Semantic FPN, UperNet'
    parts += box(left, 319, total, ['head', heads], DATA)
    return svg(left + total + 10, 375, parts)


def draw_block(block: Block) -> str:
    """Draw a GLMix block."""
    mix, channels = block.mixer, block.mixer.local[0].out_channels
    rows, columns = mix.slot_grid
    heads = channels // mix.slot_attention.head_dim
    cpe, kernel = block.cpe.kernel_size[0], mix.local[1].kernel_size[0]
    ratio = block.ffn.hidden_dim // channels
    parts = box(200, 10, 260, ['x0: the input', f'{channels} x h x w'], DATA)
    parts += arrow((330, 56), (330, 80))
    parts += box(200, 80, 260, ['position encoding', f'+ depthwise {cpe} x {cpe}'], OTHER)
    parts += arrow((330, 126), (330, 150)) + box(200, 150, 260, [type(block.norm1).__name__], OTHER)
    # The local branch on the left, the global one on the right.
    parts += arrow((330, 179), (330, 195), (150, 195), (150, 220))
    lines = ['local branch', '1 x 1 convolution', f'depthwise {kernel} x {kernel}']
    parts += box(40, 220, 220, [*lines, '1 x 1 convolution'], LOCAL)
    parts += arrow((330, 179), (330, 195), (510, 195), (510, 220))
    lines = ['cluster', f'softmax over positions: {rows * columns} slots']
    parts += box(380, 220, 260, lines, GLOBAL)
    parts += arrow((510, 266), (510, 290))
    parts += box(380, 290, 260, ['attention among slots', f'{heads} heads'], GLOBAL)
    parts += arrow((510, 336), (510, 360))
    parts += box(380, 360, 260, ['dispatch', 'softmax over slots, per position'], GLOBAL)
    # The initial slots are means of the block's input.
    parts += arrow((460, 33), (760, 33), (760, 80))
    parts += box(670, 80, 180, ['initial slots', f'{rows} x {columns} means of x0'], GLOBAL)
    parts += arrow((760, 126), (760, 243), (640, 243))
    parts += arrow((150, 300), (150, 440), (260, 440)) + arrow((510, 406), (510, 440), (400, 440))
    parts += box(260, 425, 140, ['sum'], DATA)
    parts += arrow((200, 103), (20, 103), (20, 483), (200, 483))
    parts += arrow((330, 454), (330, 468))
    parts += box(200, 468, 260, ['+ the encoded input'], OTHER) + arrow((330, 497), (330, 520))
    lines = [f'+ FFN({type(block.norm2).__name__})', f'1 x 1 to {ratio} x {channels} channels,']
    parts += box(200, 520, 260, [*lines, '+ depthwise 3 x 3, GELU, 1 x 1'], OTHER)
    parts += arrow((330, 583), (330, 605)) + box(200, 605, 260, [f'{channels} x h x w'], DATA)
    return svg(870, 645, parts)


def draw() -> dict[str, str]:
    """Return the pictures by the names of their files."""
    model = GLNet('4g').eval()
    return {
        'architecture_network.svg': draw_network(model),
        'architecture_block.svg': draw_block(model.stages[0].blocks[0]),
    }


if __name__ == '__main__':
    for name, picture in draw().items():
        (FOLDER / name).write_text(picture)
