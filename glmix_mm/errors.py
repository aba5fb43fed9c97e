"""The one error class of mistakes that a user can fix."""


class UserError(Exception):
    """A mistake in a config, a file or an option.

    The message names the thing, what was found, what was expected and what to do next. The
    command-line tools print it as their last line, without a traceback, and exit with status 1.
    """
