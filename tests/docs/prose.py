"""Look for odd idioms and long sentences in the project's English (part of `make lint`)."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ('*.md', 'docs/*.md', '.github/*/*.md')
MODULES = ('configs', 'glmix_mm', 'tools')
MOST_WORDS = 30
IDIOMS = {  # and what to write instead
    r'mend(s|ed|ing)?': 'fix',
    r'for want of': 'without',
    r'in earnest': 'say what differs',
    r'no numbers?(?= (and|or|is|are)\b|[.,:;])': 'not finite',
    r'scored rightly': 'scored correctly',
    r'lies? (beside|in|at|on|outside|there)': 'is',
    r'stands? (beside|between|for|in|on|outside|there)': 'is, means, contains',
    r'(at|by) hand': 'available; say which command',
    r'(say|says|said) so': 'say what is reported',
    r'number by number': 'exactly',
    r'one too many': 'an extra one',
    r'(go|goes|went) on': 'continue',
    r'(bytes?|images|one|samples|sentences?) a (batch|class|GPU|line|pass|pixel)': 'per',
}
PARTS = r'\n\s*\n|\n\s*[-*] |\n\s*[\w*, ]+: '  # paragraphs, list items, arguments
NOT_PROSE = re.compile(r'^```.*?^```$|^\|.*?$', re.MULTILINE | re.DOTALL)


def prose(text: str, is_page: bool) -> list[str]:
    """Return the paragraphs of a page, or those of a module's docstrings."""
    if is_page:
        return re.split(PARTS, NOT_PROSE.sub('\n\n', text))
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    return [part for node in nodes for part in re.split(PARTS, ast.get_docstring(node) or '')]


def complaints(text: str, is_page: bool) -> list[str]:
    """Return what is wrong with a file, a line for each."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for idiom, better in IDIOMS.items():
            if match := re.search(rf'\b({idiom})\b', line, re.IGNORECASE):
                found.append(f'{number}: {match[0]!r}; better: {better}')
    for part in prose(text, is_page):
        for sentence in re.split(r'[.?!:][*)"\']*\s', re.sub(r'`[^`]*`|\]\(.*?\)', 'code', part)):
            if len(words := re.findall(r"[\w'/-]*[A-Za-z][\w'/-]*", sentence)) > MOST_WORDS:
                found.append(f'{len(words)} words in a sentence: {" ".join(words[:12])} ...')
    return found


if __name__ == '__main__':
    paths = [path for place in PAGES for path in ROOT.glob(place)]
    paths += [path for folder in MODULES for path in (ROOT / folder).rglob('*.py')]
    lines = [
        (p, line) for p in sorted(paths) for line in complaints(p.read_text(), p.suffix == '.md')
    ]
    sys.exit('\n'.join(f'{path.relative_to(ROOT)}: {line}' for path, line in lines) or 0)
