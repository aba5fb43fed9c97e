"""Looks at a model in the browser: predictions and slots of one's own pictures."""

import contextlib
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from ..config.load_config import load_config
from ..errors import UserError
from ..inference.coco_results import known_ids
from ..inference.load import load
from ..utils.parsers import app_parser
from ..utils.pictures import find_images
from .viewer import Viewer

EXAMPLES = 4  # pictures of the test set


def main(argv: Sequence[str]) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        UserError: a mistake in the arguments, the config or the checkpoint; the page's library is
            not installed; or the port is taken.
    """
    args = app_parser().parse_args(argv)
    try:
        from .page import serve
    except ModuleNotFoundError as error:
        if error.name != 'nicegui':
            raise
        raise UserError(
            "no module nicegui, which makes the page; install it: pip install 'glmix_mm[lite,app]'"
        ) from error
    examples = find_images(args.examples)
    check_free(args.host, args.port)
    cfg = load_config(args.config)
    with contextlib.redirect_stdout(sys.stderr):
        predictor = load(cfg, args.checkpoint, args.device)
        ids = known_ids(cfg)
    examples = examples or [Path(p) for p in ids.images if os.path.isfile(p)][:EXAMPLES]
    title = f'{Path(args.config).stem}, {Path(args.checkpoint).name}'
    serve(Viewer(predictor, cfg, title, ids), examples, args.host, args.port)


def check_free(host: str, port: int) -> None:
    """Check that the page can listen there.

    Raises:
        UserError: it cannot.
    """
    if not 0 < port < 2**16:
        raise UserError(f'--port {port}: expected a number from 1 to 65535')
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(address)
    except OSError as error:
        raise UserError(
            f'cannot listen at {host}, port {port}: {error.strerror}; give another --host or --port'
        ) from error
