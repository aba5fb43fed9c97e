"""Every command of the pages that calls a tool runs, as it stands, and leaves what it should."""

from pathlib import Path

from checks import check
from pages import FOLLOWED, PAGES, PROOF, SET_UP, commands, each, fenced, printed_after
from shell import Shell

FOLLOWED_COMMANDS = [command for page in PAGES if page.name in FOLLOWED for command in fenced(page)]
COMMANDS = [
    command
    for command in commands()
    if command not in FOLLOWED_COMMANDS and not SET_UP.match(command) and not PROOF.match(command)
]
COUNTED = [command for command in COMMANDS if command.startswith('glmix flops')]
SERVED = [command for command in COMMANDS if command.startswith('glmix app')]
DRAWN = [command for command in COMMANDS if command.startswith('glmix slots ')]


@each([c for c in COMMANDS if c not in COUNTED + DRAWN + SERVED])
def test_command(command: str, shell: Shell):
    if '--resume' in command and not command.startswith('torchrun'):  # that starts with it
        start = command.replace('--resume', '--cfg-options train_cfg.max_epochs=1')
        Path('work_dirs/maskrcnn_glnet_4g_3x/epoch_36.pth').unlink()
        assert shell.run(start).status == 0
    check(command, shell.run(command))


@each(DRAWN)
def test_slots_are_drawn(command: str, deep_shell: Shell):
    check(command, deep_shell.run(command))


@each(SERVED)
def test_the_page_would_be_served(command: str, shell: Shell, monkeypatch):
    served = []
    monkeypatch.setattr('glmix_mm.app.page.serve', lambda *args: served.append(args))
    outcome = shell.run(command)
    assert outcome.status == 0, outcome.err
    ((viewer, _, host, port),) = served
    assert viewer.blocks and (host, port) == ('127.0.0.1', 7860)


@each(COUNTED)
def test_counts_are_those_of_the_pages(command: str, full_size_shell: Shell):
    outcome = full_size_shell.run(command)
    assert outcome.status == 0, outcome.err
    shown = printed_after(command, 'docs/models.md')
    assert set(filter(None, shown)) - {'...'} <= set(outcome.out.splitlines())
