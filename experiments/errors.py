"""The one exception that is the user's to fix, and the exit code of a command."""

import sys
from collections.abc import Callable

__all__ = ["INTERRUPTED", "UserError", "exit_code", "missing_package"]

INTERRUPTED = 130


class UserError(Exception):
    """One clear sentence for whoever typed the command: printed without a traceback, exit code 2."""


def missing_package(error: ModuleNotFoundError) -> UserError:
    """What to type when a package of the extra is not installed; a module of our own that is missing is a bug."""
    if error.name is None or error.name.partition(".")[0] in ("experiments", "jaxlab"):
        raise error
    return UserError(f"The package {error.name} is not installed. Run: pip install -e '.[experiments]'")


def exit_code(command: Callable[[], int], interrupted: str = "Interrupted.") -> int:
    """The exit code of a command: its own, 2 where the user has to change something, 130 where the user stopped it.

    Args:
      command: what is to be done.
      interrupted: what to say to a user who has stopped it.
    """
    try:
        return command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SystemExit as stop:  # tyro has printed what is wrong, or the help
        return stop.code if isinstance(stop.code, int) else 2 if stop.code else 0
    except KeyboardInterrupt:
        print(f"\n{interrupted}", file=sys.stderr)
        return INTERRUPTED
