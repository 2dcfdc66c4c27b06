"""Announce the imports of large libraries, which take seconds before any work begins."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# scikit-learn and scikit-image begin with SciPy, fastai and torchvision with PyTorch.
LARGE = {"torch": "PyTorch", "scipy": "SciPy"}


class _Announcer(MetaPathFinder):
    """Finds no module, but says that a large one is about to be imported."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say, self._waiting = say, dict(LARGE)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Announce `fullname` the first time, and leave the search to the other finders."""
        if name := self._waiting.pop(fullname, None):
            self._say(f"loading {name}")
        return None


def announce_imports(say: Callable[[str], object]) -> None:
    """Call `say` with `loading PyTorch` when any code imports it for the first time."""
    sys.meta_path[:] = [one for one in sys.meta_path if not isinstance(one, _Announcer)]
    sys.meta_path.insert(0, _Announcer(say))
