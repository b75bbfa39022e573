"""The floor plan: which files lie flat in abc_hf/, and that imports run one way, from the top down."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (
    ("abc_hf", "abc_hf.common"),
    ("abc_hf.data", "abc_hf.inference"),
    ("abc_hf.evaluation", "abc_hf.library"),
    ("abc_hf.training",),
    ("abc_hf.registration",),
    ("abc_hf.demo",),
    ("abc_hf.cli",),
    ("abc_hf.__main__", "app"),
    ("hub", "train_accelerate"),
)
"""From the ground up. Each entry is a folder, or a module that stands apart from its folder; "abc_hf" is the flat core.
A module imports from its own folder and from the floors below."""
FACE = ("__init__", "__main__", "registration")
"""The flat files that do not travel to the Hub."""
PLAIN_NAMES = ("__version__",)
"""Names that `abc_hf/__init__.py` defines by itself."""


def modules() -> dict[str, Path]:
    files = [*ROOT.glob("abc_hf/**/*.py"), *ROOT.glob("hub/*.py"), *ROOT.glob("*.py")]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}
    return {name.removesuffix(".__init__"): file for name, file in names.items()}


MODULES = modules()


def imports(module: str) -> set[str]:
    """The modules of this repository that one imports, in functions as well."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [base])])
            for alias in node.names:
                if base != "abc_hf" or alias.name not in PLAIN_NAMES:
                    found.add(f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base)
    return found & MODULES.keys() - {module}


GRAPH = {module: imports(module) for module in MODULES}


def place(module: str) -> tuple[int, str]:
    """The number of a module's floor, and its entry in `FLOORS`."""
    if module in ("abc_hf", "abc_hf.inference"):  # they pass on public names, of the registration and of the library
        module = "abc_hf.registration"
    entries = {entry: number for number, floor in enumerate(FLOORS) for entry in floor}
    name = module if module in entries else module.rpartition(".")[0]
    return entries[name], name


def test_no_circles():
    graphlib.TopologicalSorter(GRAPH).prepare()


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_down(module):
    floor, folder = place(module)
    places = {target: place(target) for target in GRAPH[module]}
    upward = [target for target, (number, name) in places.items() if number >= floor and name != folder]
    assert upward == []


def travellers() -> set[str]:
    """What transformers copies to the Hub: it follows `from .name import`, and nothing else."""
    found, waiting = set(), ["modeling_abc_fusenet", "image_processing_abc_fusenet", "pipeline"]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            tree = ast.parse((ROOT / "abc_hf" / f"{name}.py").read_text())
            waiting += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1]
    return found


def test_what_lies_flat_is_what_travels():
    assert {file.stem for file in ROOT.glob("abc_hf/*.py")} == travellers() | set(FACE)


@pytest.mark.parametrize("name", sorted(travellers()))
def test_what_travels_imports_flat_siblings_alone(name):
    for node in ast.walk(ast.parse((ROOT / "abc_hf" / f"{name}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1 and node.module and "." not in node.module, ast.unparse(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            assert "abc_hf" not in ast.unparse(node)


@pytest.mark.parametrize("file", sorted(ROOT.glob("abc_hf/common/*.py")), ids=lambda file: file.stem)
def test_what_is_common_imports_no_torch(file):
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
        names |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
    assert {name.split(".")[0] for name in names}.isdisjoint({"torch", "transformers"})
