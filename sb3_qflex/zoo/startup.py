"""Lets RL Zoo know QFlex, without RL Zoo having a plugin point.

``rl_zoo3`` fixes its ``--algo`` choices while it is being imported, before anything of a user's can run. An
installed sb3-qflex therefore puts this file, as the top-level module ``_sb3_qflex_startup``, and a ``.pth`` file of
one line that calls :func:`install` into site-packages. Every Python process of that environment runs it, so it
stands alone, imports the standard library only and does nothing until ``rl_zoo3`` is imported.

The environment variable ``SB3_QFLEX_ZOO=0`` turns it off.
"""

import os
import sys

TYPE_CHECKING = False  # typing's own would cost an import; type checkers know the name
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

#: The modules of RL Zoo after whose import :mod:`sb3_qflex.zoo.registration` has something to add.
WATCHED = ("rl_zoo3.utils", "rl_zoo3.hyperparams_opt", "rl_zoo3.import_envs", "rl_zoo3.exp_manager")


class AfterImport:
    """
    A ``sys.meta_path`` finder that finds nothing itself: it lets the other finders find a watched module and adds
    a call after the module's own code has run. It takes itself off ``sys.meta_path`` after the last one.
    """

    def __init__(self) -> None:
        self.waiting = set(WATCHED)

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        if name not in self.waiting:
            return None
        finders = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in finders)), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            self._call_after(spec.loader, name)
        return spec

    def _call_after(self, loader: "Any", name: str) -> None:
        def exec_module(module: "ModuleType") -> None:
            # The loader is itself again before it runs: what the module keeps as its loader is the ordinary one.
            vars(loader).pop("exec_module", None)
            loader.exec_module(module)
            # Only now, so that an import that failed can be tried again.
            self._done(name)
            _register(module)

        loader.exec_module = exec_module

    def _done(self, name: str) -> None:
        self.waiting.discard(name)
        if not self.waiting and self in sys.meta_path:
            sys.meta_path.remove(self)


def _register(module: "ModuleType") -> None:
    """Hand a freshly imported module of RL Zoo to sb3-qflex; RL Zoo stays usable whatever happens there."""
    try:
        from sb3_qflex.zoo.registration import extend

        extend(module)
    except Exception as error:
        import warnings

        warnings.warn(
            f"sb3-qflex could not add itself to {module.__name__}, which works on without it "
            f"({type(error).__name__}: {error}). SB3_QFLEX_ZOO=0 turns the attempt off.",
            RuntimeWarning,
            stacklevel=2,
        )


def install() -> None:
    """Watch for RL Zoo, once per process, unless ``SB3_QFLEX_ZOO=0`` or RL Zoo is there already."""
    if os.environ.get("SB3_QFLEX_ZOO", "1") == "0" or WATCHED[0] in sys.modules:
        return
    if not any(type(finder).__name__ == AfterImport.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, AfterImport())
