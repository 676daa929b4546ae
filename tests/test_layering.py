"""The rules of the house (`docs/architecture.md`), read from the imports."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

BELOW = {
    "errors": set(),
    "observe": set(),
    "banner": set(),
    "workers": set(),
    "protocol": {"errors"},
    "access": {"errors", "protocol", "ledger"},
    "ledger": {"errors"},
    "buckets": {"errors", "protocol"},
    "store": {"errors", "protocol", "buckets"},
    "transfer": {"errors", "protocol", "store"},
    "service": {"errors", "protocol", "store", "transfer", "access", "ledger", "buckets"},
    "handlers": {"errors", "observe", "protocol", "store", "transfer", "access", "buckets", "service"},
    "app": {"handlers", "service"},
    "assembly": {
        "access",
        "buckets",
        "errors",
        "handlers",
        "ledger",
        "observe",
        "protocol",
        "service",
        "store",
        "transfer",
    },
    "sweep": {"errors", "protocol", "store", "transfer", "buckets"},
}
"""Each package or module right under `s3proxy` and what it may import: arrows point down. New ones take their place."""

TORNADO = {"handlers", "app"}
"""Who may speak HTTP, beside server.py."""

COMPOSERS = {"s3proxy.assembly", "s3proxy.sweep", "s3proxy.store.build"}
"""Who may know the settings, beside server.py: what puts a process together, and a program of its own."""

READERS = {"s3proxy.access.file", "s3proxy.buckets"}
"""Who may use pydantic, beside the settings: what reads a file that operators write."""

IMPURE = {
    "aiohttp",
    "asyncio",
    "boto3",
    "botocore",
    "concurrent",
    "fcntl",
    "http",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "tornado",
    "urllib.request",
    "urllib3",
    "uuid",
}
"""What `protocol` has no use for: no loop, no clock, no chance, no I/O."""

IMPURE_CALLS = {"open", "print", "input", "now", "utcnow", "today"}


def name_of(path: Path) -> str:
    """The module in a file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(path): path for path in sorted(ROOT.glob("s3proxy/**/*.py"))}
MODULES = pytest.mark.parametrize("module", list(FILES))


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@functools.cache
def imports(path: Path) -> list[str]:
    """Every module a file imports, anywhere in it; of `from a import b` both `a` and `a.b`."""
    return list(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it points"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def layer_of(module: str) -> str:
    """The first name under `s3proxy`."""
    return module.split(".")[1] if "." in module else ""


def test_the_rules_are_about_this_code() -> None:
    assert len(FILES) > 30
    assert {layer_of(module) for module in FILES} - {""} == BELOW.keys()
    # A rule that nothing touches is no rule: every kind of import that is restricted is found where it may be.
    assert any(is_within(name, {"tornado"}) for name in imports(FILES["s3proxy.handlers.base"]))
    assert any(is_within(name, {"boto3"}) for name in imports(FILES["s3proxy.store.s3_client"]))
    assert any(is_within(name, {"s3proxy.protocol"}) for name in imports(FILES["s3proxy.transfer.writer"]))


@MODULES
def test_arrows_point_down(module: str) -> None:
    layer = layer_of(module)
    for name in imports(FILES[module]):
        other = layer_of(name) if is_within(name, {"s3proxy"}) else ""
        if other and other in BELOW:
            assert other == layer or other in BELOW.get(layer, set()), f"{module} imports {name}"


@MODULES
def test_transfers_know_the_contract_and_no_store(module: str) -> None:
    if layer_of(module) in ("transfer", "handlers", "service"):
        for name in imports(FILES[module]):
            assert not is_within(name, {"s3proxy.store"}) or is_within(name, {"s3proxy.store.contract"}), (
                f"{module} imports {name}"
            )


@MODULES
def test_only_handlers_and_the_app_speak_tornado(module: str) -> None:
    if layer_of(module) not in TORNADO:
        assert not any(is_within(name, {"tornado"}) for name in imports(FILES[module]))


@MODULES
def test_only_the_s3_store_speaks_boto3(module: str) -> None:
    if not module.startswith("s3proxy.store.s3"):
        foreign = {"boto3", "botocore", "aiohttp", "urllib3", "yarl"}
        assert not any(is_within(name, foreign) for name in imports(FILES[module]))


@MODULES
def test_nothing_imports_the_settings(module: str) -> None:
    if module not in COMPOSERS:
        assert not any(is_within(name, {"settings", "pydantic_settings"}) for name in imports(FILES[module]))


@MODULES
def test_only_what_operators_write_is_read_by_pydantic(module: str) -> None:
    if module not in COMPOSERS | READERS:
        assert not any(is_within(name, {"pydantic"}) for name in imports(FILES[module]))


@MODULES
def test_nothing_imports_the_server_or_the_tests(module: str) -> None:
    assert not any(is_within(name, {"server", "tests", "bench"}) for name in imports(FILES[module]))


@MODULES
def test_the_protocol_is_pure(module: str) -> None:
    if layer_of(module) != "protocol":
        return
    assert not [name for name in imports(FILES[module]) if is_within(name, IMPURE)]
    for node in ast.walk(parse(FILES[module])):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert called not in IMPURE_CALLS, f"{module} calls {called}"


def test_the_contract_does_nothing() -> None:
    for node in ast.walk(parse(FILES["s3proxy.store.contract"])):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            assert [ast.unparse(statement) for statement in body] == ["..."], node.name
