"""SBOM: what a published model is served with, in CycloneDX's JSON (cyclonedx.org): its files and every package."""

import hashlib
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.storage import Store
from inkloop import artifacts


def build(model: Path, digest: str, packages: Iterable[str]) -> bytes:
    """The SBOM of a model directory and these installed packages, with all that they need; the same twice.

    Raises PackageNotFoundError if one of the packages is not installed.
    """
    needs = _needs(packages)
    libraries = {name: _library(distribution(name)) for name in sorted(needs)}
    application = Component(name="inkloop", version=digest[:12], type=ComponentType.APPLICATION, bom_ref="inkloop")
    reader = _model(model, digest)
    contents = "/".join((digest, *(f"{name}=={each.version}" for name, each in libraries.items())))
    bom = Bom(components=[reader, *libraries.values()], serial_number=uuid5(NAMESPACE_URL, f"urn:inkloop:{contents}"))
    bom.metadata.component = application
    bom.register_dependency(application, [reader, *(libraries[canonicalize_name(each)] for each in packages)])
    for name, library in libraries.items():
        bom.register_dependency(library, [libraries[each] for each in sorted(needs[name])])
    bom.metadata.timestamp = None  # type: ignore[assignment] # so that the same model has the same SBOM
    return JsonV1Dot6(bom).output_as_string(indent=1).encode()


def publish(store: Store, digest: str, content: bytes) -> None:
    """Keep the SBOM of a published model."""
    store.put(key_of(digest), content)


def key_of(digest: str) -> str:
    """Where the SBOM of a published model lies in the store."""
    return f"sboms/{digest}.cdx.json"


def _needs(packages: Iterable[str]) -> dict[str, set[str]]:
    """What each of the packages needs, and each of these, and so on, where it is installed."""
    needs: dict[str, set[str]] = {}
    left: list[str] = [canonicalize_name(each) for each in packages]
    while left:
        name = left.pop()
        if name in needs:
            continue
        required = (Requirement(each) for each in distribution(name).requires or ())
        wanted = {each.name for each in required if each.marker is None or each.marker.evaluate({"extra": ""})}
        needs[name] = {canonicalize_name(each) for each in wanted if _is_installed(each)}
        left += needs[name]
    return needs


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _library(package: Distribution) -> Component:
    said = package.metadata
    name = canonicalize_name(said["Name"])
    declared = next((said[key] for key in ("License-Expression", "License") if key in said), None)
    if declared is None or "\n" in declared:  # some put the whole text there; the classifiers then say which it is
        classifiers = said.get_all("Classifier") or ()
        declared = next((each.split(" :: ")[-1] for each in classifiers if each.startswith("License")), None)
    return Component(
        name=name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{name}=={package.version}",
        purl=PackageURL("pypi", None, name, package.version),
        licenses=[LicenseFactory().make_from_string(declared)] if declared else (),
    )


def _model(folder: Path, digest: str) -> Component:
    info = artifacts.info(folder)
    files = [
        Component(
            name=path.relative_to(folder).as_posix(),
            type=ComponentType.FILE,
            bom_ref=f"model/{path.relative_to(folder).as_posix()}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(path.read_bytes()).hexdigest())],
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return Component(
        name="model",
        version=digest,
        description=f"a digit reader of kind {info.kind}, {info.parameters:,} parameters",
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        components=files,
    )
