"""What the pages ask their readers to type: commands and Python snippets.

A ``bash`` fence holds commands, one per line (``\\`` goes on). A ``console`` fence shows commands,
after ``$``, and what they print. An inline `code` is a command if it names a program and what to
do. ``text`` fences hold what is not typed.
"""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ('README.md', 'CONTRIBUTING.md')]
PAGES += sorted((ROOT / 'docs').glob('*.md'))
# These pages' fences are followed from top to bottom by a test each.
FOLLOWED = (
    'any_detector.md',
    'blood_cells.md',
    'classify.md',
    'deploy.md',
    'new_backbone.md',
    'own_data.md',
    'street.md',
)
FENCE = re.compile(r'^```(\S*)[^\n]*\n(.*?)^```$', re.MULTILINE | re.DOTALL)
INLINE = re.compile(r'(?<!`)`([^`]+)`(?!`)')
# A program alone, as `glmix train`, is its name; with an argument it is a command.
PROGRAMS = re.compile(
    r'([A-Z_]+=\S+ )*'
    r'(git|glmix [\w-]+|make|mpirun|pip|python3?|torchrun|'
    r'(\./)?(\.ci|tests|tools)/[\w/]+(\.\w+)?) \S'
)


# Which test runs a command: test_set_up.py, test_proofs.py, or else test_commands.py.
SET_UP = re.compile(r'(\w+=\S+ )*(git|make|pip) ')
PROOF = re.compile(r'python tests/')


class Snippet(NamedTuple):
    """A fence of Python: the name of its page, its place among them there, and the code."""

    page: str
    place: int
    code: str


def fences(page: Path, *languages: str) -> list[str]:
    """Return the contents of a page's fences of these languages, in the page's order."""
    return [code for found, code in FENCE.findall(page.read_text()) if found in languages]


def commands(pages: list[Path] = PAGES) -> dict[str, list[str]]:
    """Return every command, without comment, and the names of the pages that have it."""
    found: dict[str, list[str]] = {}
    for page in pages:
        for command in [*fenced(page), *inline(page)]:
            found.setdefault(command, []).append(page.name)
    return found


def snippets(pages: list[Path] = PAGES) -> list[Snippet]:
    """Return every fence of Python."""
    return [
        Snippet(page.name, place, code)
        for page in pages
        for place, code in enumerate(fences(page, 'python'))
    ]


def each(commands: list[str]):
    """Return what makes a test of each command; those of other pages than README.md are slow."""
    first = {*fenced(ROOT / 'README.md'), *inline(ROOT / 'README.md')}
    cases = [pytest.param(c, marks=() if c in first else pytest.mark.slow) for c in commands]
    return pytest.mark.parametrize('command', cases, ids=lambda command: command[:80])


def printed_after(command: str, page: str) -> list[str]:
    """Return the lines that a page shows of what a command prints."""
    for block in fences(ROOT / page, 'console'):
        typed, *printed = block.replace('\\\n', ' ').splitlines()
        if _plain(typed.removeprefix('$ ')) == command:
            return printed
    raise LookupError(f'{page} does not show what {command} prints')


def fenced(page: Path) -> list[str]:
    """Return the commands in a page's fences."""
    lines = []
    for block in fences(page, 'bash', 'console'):
        block = block.replace('\\\n', ' ').splitlines()
        typed = [line.removeprefix('$ ') for line in block if line.startswith('$ ')] or block
        lines += [line for line in map(_plain, typed) if line]
    return lines


def inline(page: Path) -> list[str]:
    """Return the commands in a page's sentences."""
    spans = map(_plain, INLINE.findall(FENCE.sub('', page.read_text())))
    return [span for span in spans if PROGRAMS.match(span)]


def _plain(line: str) -> str:
    """Return a line without its comment and with single blanks."""
    return ' '.join(re.sub(r'(^|\s)#.*', '', line).split())
