# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The rooms (top-level folders) of the package: which may import which, and none by its bare name, as `modeling`."""

import ast
import graphlib
import importlib.util
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "utils": set(),
    "configuration": set(),
    "modeling": {"configuration"},
    "checkpoints": {"configuration", "modeling"},
    "tokenization": {"configuration"},
    "training": {"configuration", "modeling", "checkpoints", "tokenization", "utils"},
    "studies": {"configuration", "modeling", "training", "utils"},
    "visualization": {"configuration", "modeling", "training", "utils"},
    "hub": {"configuration", "modeling", "checkpoints", "tokenization", "utils"},
    "serving": {"configuration", "training", "visualization"},
}
MAY_IMPORT["examples"] = {*MAY_IMPORT, "locant"}
MAY_IMPORT["locant"] = set(MAY_IMPORT)


def files_of(room):
    return sorted((ROOT / room).rglob("*.py"))


def imported_rooms(path, room):
    """The rooms that a file imports by absolute name, with lines; a relative import out of its own room fails."""
    depth = len(path.relative_to(ROOT / room).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            # `from locant import modeling` names the room after `import`
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= depth, f"{path}:{node.lineno} climbs out of its room: import it as locant.<room>"
            continue
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            assert package not in MAY_IMPORT or package == "locant", f"{path}:{node.lineno} imports a bare {package}"
            if package == "locant":
                inner = rest.split(".")[0]
                yield (inner if inner in MAY_IMPORT else "locant"), node.lineno


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_run_downwards(room):
    assert files_of(room)
    for path in files_of(room):
        for other, line in imported_rooms(path, room):
            assert other == room or other in MAY_IMPORT[room], f"{path}:{line} imports {other} from {room}"


def imported_modules(path, module, known):
    """The modules of Locant that a file imports, at its top or in a function."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names = {f"{base}.{alias.name}" for alias in node.names} & known
            yield from names or ({base} & known)


def test_no_files_import_each_other_in_a_circle():
    paths = {}
    for path in (path for room in MAY_IMPORT for path in files_of(room)):
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = ".".join(parts if parts[0] == "locant" else ("locant", *parts)).removesuffix(".__init__")
        paths[module] = path
    graph = {module: set(imported_modules(path, module, paths.keys())) for module, path in paths.items()}
    assert sum(map(len, graph.values())) > 500
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the files of a circle


def test_the_check_sees_imports_of_every_form(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "modeling" / "positions" / "base.py"
    path.parent.mkdir(parents=True)

    def rooms(source):
        path.write_text(source)
        return {room for room, _ in imported_rooms(path, "modeling")}

    assert rooms("import locant.training.run.trainer") == {"training"}
    assert rooms("from locant.hub.sharing.push import push") == {"hub"}
    assert rooms("from locant import hub") == {"hub"}
    assert rooms("from locant import LocantConfig") == {"locant"}
    assert rooms("def f():\n    import locant") == {"locant"}
    assert rooms("from ..attention import Attention\nfrom .base import SlotIndex\nimport torch") == set()
    for source in ("from ...training import trainer", "import modeling.attention", "from hub import push"):
        with pytest.raises(AssertionError, match=r"climbs out|bare"):
            rooms(source)


def test_a_bundle_is_flat_so_no_two_files_share_a_name():
    folders = defaultdict(list)
    for room in ("configuration", "modeling", "tokenization", "hub"):
        for path in files_of(room):
            if path.parent.name not in ("conversion", "families", "engines"):  # not in bundles
                folders[path.name.removeprefix("modeling_locant_")].append(str(path.parent.relative_to(ROOT)))
    folders.pop("__init__.py")
    assert {name: places for name, places in folders.items() if len(places) > 1} == {}


def test_every_folder_with_code_is_packaged():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent for room in MAY_IMPORT for path in files_of(room)}
    mapped = {ROOT / settings["package-dir"].get(name, name.replace(".", "/")) for name in settings["packages"]}
    assert mapped == folders


@pytest.mark.end_to_end
def test_an_installed_package_has_its_rooms_inside_and_registers_its_classes(tmp_path):
    script = """
import importlib.util
import sys

ROOMS = ["configuration", "modeling", "checkpoints", "tokenization", "training", "studies", "visualization", "hub"]
ROOMS += ["serving", "utils", "examples"]
for room in ROOMS:
    assert importlib.util.find_spec(room) is None, room

import locant
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

assert all(hasattr(locant, name) for name in locant.__all__)
unasked = {"datasets", "sacrebleu", "matplotlib", "locant.training", "locant.studies", "locant.visualization"}
assert not unasked & set(sys.modules), unasked & set(sys.modules)
config = AutoConfig.for_model("locant", vocab_size=9, d_model=8, encoder_layers=1, decoder_layers=1)
assert type(config) is locant.LocantConfig
assert type(AutoModel.from_config(config)) is locant.LocantModel
assert type(AutoModelForSeq2SeqLM.from_config(config)) is locant.LocantForConditionalGeneration

for room in ROOMS:
    assert importlib.util.find_spec(f"locant.{room}") is not None, room
"""
    subprocess.run([sys.executable, "-P", "-c", script], check=True, cwd=tmp_path)
