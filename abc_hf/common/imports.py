"""Calling a function as soon as another module has been imported."""

import importlib.abc
import sys
from collections.abc import Callable
from functools import partial


def after_import(name: str, packages: set[str], action: Callable[[], None]) -> None:
    """Call `action` once, when the module `name` has been imported: now or later. It waits until no module of the
    top-level `packages` is half imported, because `action` imports from them."""
    if name in sys.modules:
        action()
    else:
        sys.meta_path.insert(0, Watcher(name, packages, action))


class Watcher(importlib.abc.MetaPathFinder):
    """Finds modules as the other finders do, and notices when they have been loaded."""

    def __init__(self, name: str, packages: set[str], action: Callable[[], None]):
        self.name, self.packages, self.action = name, packages, action
        self.loading: set[str] = set()

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] not in self.packages:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec and spec.loader:
            load = partial(type(spec.loader).exec_module, spec.loader)
            spec.loader.exec_module = partial(self.loaded, load)  # type: ignore[method-assign]
        return spec

    def loaded(self, load: Callable, module) -> None:
        self.loading.add(module.__spec__.name)
        try:
            load(module)
        finally:
            self.loading.discard(module.__spec__.name)
        if not self.loading and self.name in sys.modules and self in sys.meta_path:
            sys.meta_path.remove(self)
            self.action()
