"""What `nix build .#manifests` makes is what the other tests hold, with the tags of the images that Nix made."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import yaml

from manifest_tree import MANIFESTS, Tree, is_ours

if not {"IBUTSU_IMAGES", "IBUTSU_MANIFESTS"} <= os.environ.keys():
    pytest.skip(
        "IBUTSU_MANIFESTS and IBUTSU_IMAGES name no results of `nix build .#manifests` and `.#images`",
        allow_module_level=True,
    )

RENDERED = Path(os.environ["IBUTSU_MANIFESTS"])
OVERLAYS = {path.name for path in (MANIFESTS / "overlays").iterdir()}


def test_each_overlay_is_rendered() -> None:
    assert {path.name for path in RENDERED.iterdir()} == {f"{overlay}.yaml" for overlay in OVERLAYS}


@pytest.mark.parametrize("overlay", sorted(OVERLAYS))
def test_an_overlay_is_rendered_with_the_tags_of_the_images_and_without_secrets(
    overlay: str, trees: dict[str, Tree]
) -> None:
    lines = (Path(os.environ["IBUTSU_IMAGES"]) / "images").read_text().splitlines()
    tags = {name: tag for name, tag, *_ in map(str.split, lines)}
    tree, named = copy.deepcopy(trees[overlay]), set()
    for _, container in tree.containers():
        if is_ours(container):
            image = container["image"].rpartition(":")[0]
            name = image.rpartition("/")[2]
            container["image"] = f"{image}:{tags[name]}"
            named.add(name)
    assert named == tags.keys()
    rendered = list(yaml.safe_load_all((RENDERED / f"{overlay}.yaml").read_text()))
    assert rendered == [each for each in tree.objects if each["kind"] != "Secret"]
