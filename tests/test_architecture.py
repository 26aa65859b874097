"""The house rules that no linter knows: sizes, names, cycles, and what `import agentloop` costs everybody."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

import agentloop

ROOT = Path(__file__).parent.parent
PACKAGES = sorted([*ROOT.glob("agentloop/**/*.py"), *ROOT.glob("plugins/*/agentloop_*/**/*.py")])
EXAMPLES = sorted(ROOT.glob("examples/**/*.py"))

FILE_LINES = 500
FUNCTION_LINES = 50
LOOP_LINES = 150
EXAMPLE_LINES = 40
TOP_NAMES = 24
AGENT_PARAMETERS = 10
POSITIONAL_PARAMETERS = 2

ROOMS_WITHOUT_A_NAME = {"base", "common", "contrib", "core", "helpers", "misc", "run_internal", "utils"}
EMPTY_VERBS = re.compile(r"_?(get|set|do|handle|process)_")
FOREIGN_NAMES = {"handle_async_request"}  # what httpx calls it in a transport
JOB_TITLES = re.compile(r"_?(Abstract|Base)[A-Z]\w*|\w*[a-z](Base|Callback|Handler|Helper|Impl|Manager|Utils?)")
HEAVY = {"click", "dbos", "jsonschema", "mcp", "numpy", "opentelemetry", "pytest", "rich", "starlette"}
FOR_SOME = {"agentloop.cli", "agentloop.testing"}

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[FunctionNode]:
    return (node for node in ast.walk(tree) if isinstance(node, FunctionNode))


def length(function: FunctionNode) -> int:
    """Count the lines from `def` to the end; `lineno` leaves the decorators out."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def long_functions(source: str) -> list[str]:
    return [f"{function.name}: {length(function)} lines" for function in functions(ast.parse(source)) if length(function) > FUNCTION_LINES]


def crowded_functions(source: str) -> list[str]:
    public = (function for function in functions(ast.parse(source)) if not function.name.startswith("_"))
    return [function.name for function in public if positional_parameters(function) > POSITIONAL_PARAMETERS]


def positional_parameters(function: FunctionNode) -> int:
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def words_we_do_not_use(source: str) -> list[str]:
    tree = ast.parse(source)
    classes = (node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return [
        *(name for name in classes if JOB_TITLES.fullmatch(name)),
        *(function.name for function in functions(tree) if EMPTY_VERBS.match(function.name) and function.name not in FOREIGN_NAMES),
    ]


def rooms_without_a_name(path: Path) -> set[str]:
    return ROOMS_WITHOUT_A_NAME & {part.removesuffix(".py").strip("_") for part in path.relative_to(ROOT).parts}


def cycle(imports: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def modules_after(statement: str) -> set[str]:
    """Run the statement in a fresh interpreter, and see which modules and packages it brought along."""
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603 - a script of ours
    return set(done.stdout.split())


def third_parties(graph: grimp.ImportGraph) -> set[str]:
    packages = {module for module in graph.modules if graph.is_module_squashed(module)}
    return packages - sys.stdlib_module_names


def declared_dependencies() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {re.split(r"[^\w-]", requirement)[0].replace("-", "_") for requirement in requirements}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("agentloop", include_external_packages=True, cache_dir=None)


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_keeps_to_the_house_rules(path: Path):
    source = path.read_text()

    breaches = [*long_functions(source), *crowded_functions(source), *words_we_do_not_use(source), *rooms_without_a_name(path)]

    assert breaches == []
    assert len(source.splitlines()) <= FILE_LINES


def test_the_rules_find_what_breaks_them():
    body = "    pass\n" * FUNCTION_LINES
    breach = f"class ToolManager: ...\n@decorated\nasync def handle_call(self, a, b, c):\n{body}"
    fit = f"class Handler: ...\n@decorated\ndef settle(self, a, b, *, c):\n{body[9:]}"

    assert long_functions(breach) == [f"handle_call: {FUNCTION_LINES + 1} lines"]
    assert crowded_functions(breach) == ["handle_call"]
    assert words_we_do_not_use(breach) == ["ToolManager", "handle_call"]
    assert rooms_without_a_name(ROOT / "agentloop/utils/_core.py") == {"utils", "core"}
    assert (long_functions(fit), crowded_functions(fit), words_we_do_not_use(fit)) == ([], [], [])


def test_the_loop_is_read_on_one_page():
    assert len((ROOT / "agentloop/loop.py").read_text().splitlines()) <= LOOP_LINES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_read_at_a_glance(path: Path):
    assert len(path.read_text().splitlines()) <= EXAMPLE_LINES


def test_the_top_has_few_names_and_each_is_there():
    assert len(agentloop.__all__) <= TOP_NAMES
    assert sorted(set(agentloop.__all__)) == sorted(agentloop.__all__)
    assert [name for name in agentloop.__all__ if not hasattr(agentloop, name)] == []


def test_the_front_door_has_few_switches():
    assert len(inspect.signature(agentloop.Agent).parameters) <= AGENT_PARAMETERS


def test_no_module_imports_one_that_imports_it(graph: grimp.ImportGraph):
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}

    assert cycle(imports) == []
    assert set(cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == {"b", "c"}


def test_what_is_imported_is_declared(graph: grimp.ImportGraph):
    # pydantic brings pydantic_core; pytest is there wherever our plugin for it is loaded.
    implied = {"pydantic_core", "pytest"}

    assert third_parties(graph) - declared_dependencies() <= implied
    assert "httpx" in third_parties(graph)


def test_importing_agentloop_brings_nothing_heavy_along():
    # httpx has a command line of its own, and imports click and rich with it where they are installed.
    of_httpx = modules_after("import httpx")

    brought = modules_after("import agentloop") - of_httpx

    assert brought & (HEAVY | FOR_SOME) == set()
    assert "agentloop" in brought
    assert "pytest" in modules_after("import agentloop, pytest") - of_httpx
