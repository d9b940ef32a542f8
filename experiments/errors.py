"""The one exception that is the user's to fix."""

__all__ = ["UserError", "missing_package"]


class UserError(Exception):
    """One clear sentence for whoever typed the command: printed without a traceback, exit code 2."""


def missing_package(error: ModuleNotFoundError) -> UserError:
    """What to type when a package of the extra is not installed; a module of our own that is missing is a bug."""
    if error.name is None or error.name.partition(".")[0] in ("experiments", "jaxlab"):
        raise error
    return UserError(f"The package {error.name} is not installed. Run: pip install -e '.[experiments]'")
