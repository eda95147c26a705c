"""Write the CycloneDX bill of materials of an image to standard output.

A store path that holds the metadata of Python distributions stands for those, by their wheels' metadata and hashes; any
other stands for a package of nixpkgs, by its name. The same store paths give the same bill: it holds no clock.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

BUILT = dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC)
"""When the image says that it was made."""

STORE_PATH = re.compile(r"[a-z0-9]{32}-(?P<name>.+?)(-(?P<version>[0-9].*?))?(-(bin|data|lib|libgcc|out))?")

LONGEST_LICENSE = 100
"""Characters; what is longer in a `License` field is the text of one, not its name."""


def licenses_of(distribution: metadata.Distribution) -> list[License]:
    """Return what the distribution says of its licence: the expression, or the name, or the classifiers."""
    fields = distribution.metadata
    factory = LicenseFactory()
    if expression := fields.get("License-Expression"):
        return [factory.make_from_string(expression)]
    text = (fields.get("License") or "").strip()
    if text and "\n" not in text and len(text) <= LONGEST_LICENSE:
        return [factory.make_from_string(text)]
    classifiers = [name for name in fields.get_all("Classifier") or () if name.startswith("License :: ")]
    return [factory.make_with_name(name.rpartition(" :: ")[2]) for name in classifiers]


def of_distribution(distribution: metadata.Distribution, path: Path, hashes: Mapping[str, str]) -> Component:
    """Return the component of a Python distribution, with the hash of its wheel if that is among the hashes."""
    name, version = re.sub(r"[-_.]+", "-", distribution.name).lower(), distribution.version
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        bom_ref=f"{path.name}#{name}",
        purl=PackageURL("pypi", None, name, version),
        licenses=licenses_of(distribution),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashes[name])] if name in hashes else [],
        properties=[Property(name="nix:store-path", value=str(path))],
    )


def of_package(path: Path) -> Component:
    """Return the component of a package of nixpkgs."""
    match = STORE_PATH.fullmatch(path.name)
    if match is None:
        sys.exit(f"{path} is no store path.")
    name, version = match["name"], match["version"]
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        bom_ref=path.name,
        purl=PackageURL("nix", None, name, version),
        properties=[Property(name="nix:store-path", value=str(path))],
    )


def components(path: Path, hashes: Mapping[str, str]) -> Iterator[Component]:
    """Yield the components that a store path stands for."""
    # An environment links to the metadata of what is in other store paths.
    own = [info for info in sorted(path.glob("lib/python*/site-packages/*.dist-info")) if not info.is_symlink()]
    for info in own:
        yield of_distribution(metadata.Distribution.at(info), path, hashes)
    if not own:
        yield of_package(path)


def bill(name: str, version: str, title: str, paths: list[Path], hashes: Mapping[str, str]) -> str:
    """Return the bill of the image whose closure the store paths are, as JSON; the hashes are its wheels', by name."""
    image = Component(
        type=ComponentType.CONTAINER, name=name, version=version, description=title, bom_ref=name,
        purl=PackageURL("oci", None, name, qualifiers={"tag": version}),
    )  # fmt: skip
    found = [component for path in sorted(paths) for component in components(path, hashes)]
    bom = Bom(
        components=found,
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, "\n".join([name, version, *sorted(map(str, paths))])),
        metadata=BomMetaData(component=image, timestamp=BUILT),
    )
    bom.register_dependency(image, found)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)


def main() -> None:
    """Read the arguments and write the bill."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--title", required=True)
    parser.add_argument("store_paths", type=Path, help="a file with a store path on each line")
    parser.add_argument("hashes", type=Path, help="a JSON object: the SHA-256 of each wheel, by its package's name")
    arguments = parser.parse_args()
    paths = [Path(line) for line in arguments.store_paths.read_text(encoding="utf-8").splitlines()]
    hashes = json.loads(arguments.hashes.read_text(encoding="utf-8"))
    print(bill(arguments.name, arguments.version, arguments.title, paths, hashes))


if __name__ == "__main__":
    main()
