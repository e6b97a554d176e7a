"""What code a step runs: a digest over all of our modules that it imports, so that a changed line reruns it."""

import hashlib
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import grimp

LOCK = Path(__file__).parent.parent / "requirements.lock"


def code_digests(steps: Mapping[str, Iterable[str]], packages: Iterable[str], lock: Path = LOCK) -> dict[str, str]:
    """SHA-256 for each step, over what its modules import within `packages`, directly or not, and the lock file.

    steps: the modules a step starts from; a package there stands for all that lies in it, data files too.
    """
    first, *others = packages
    graph = grimp.build_graph(first, *others, cache_dir=None)
    locked = lock.read_bytes() if lock.exists() else b""
    return {step: _digest(files_of(graph, modules), locked) for step, modules in steps.items()}


def files_of(graph: grimp.ImportGraph, modules: Iterable[str]) -> dict[str, Path]:
    """The files that the modules run within the graph's packages, by name."""
    files: dict[str, Path] = {}
    reached: set[str] = set()
    for module in modules:
        inside = {module, *graph.find_descendants(module)}
        reached |= inside.union(*(graph.find_upstream_modules(each) for each in inside))
        if len(inside) > 1:
            package = _folder(module)
            data = (path for path in package.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"})
            files |= {f"{module}/{path.relative_to(package).as_posix()}": path for path in data}
    # Importing a module runs the packages around it.
    around = {module.rpartition(".")[0] for module in reached} - {""}
    for module in reached | around:
        top, _, rest = module.partition(".")
        path = _folder(top) / rest.replace(".", "/")
        files[module] = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return files


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed")
    return Path(spec.origin).parent


def _digest(files: Mapping[str, Path], locked: bytes) -> str:
    total = hashlib.sha256(locked)
    for name, path in sorted(files.items()):
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()
