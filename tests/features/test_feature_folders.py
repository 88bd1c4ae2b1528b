"""A feature is one folder: what lies in it is found, and nothing else has to be changed for a new one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import create_model
from pydantic.fields import FieldInfo

from builder.features import FEATURES, NODE_SETTINGS, Feature
from builder.features.keys import keys_of
from builder.features.swap.settings import SwapKeys
from builder.model.settings import NodeSettings
from builder.model.strict import Strict
from tests.planned import DEBIAN

BUILDER = Path(__file__).parents[2] / "builder"
FOLDER = BUILDER / "features"

FAN = Path(__file__).with_name("fan")


def models(annotation: Any) -> Iterator[type[Strict]]:
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation)
    for argument in get_args(annotation):
        yield from models(argument)


def keys() -> Iterator[tuple[str, FieldInfo]]:
    for feature in FEATURES:
        for model in models(feature.settings):
            yield from (
                (f"{feature.name}: {model.__name__}.{name}", field) for name, field in model.model_fields.items()
            )


def test_every_folder_is_a_feature_with_a_page() -> None:
    folders = {path.parent.name for path in FOLDER.glob("*/__init__.py")}
    assert folders == {feature.package.rpartition(".")[2] for feature in FEATURES}
    titles = {feature.name: (FOLDER / feature.package.rpartition(".")[2] / "README.md") for feature in FEATURES}
    assert {name: page.read_text().splitlines()[0] for name, page in titles.items()} == {
        feature.name: f"# {feature.name}" for feature in FEATURES
    }


def test_each_feature_has_its_name_and_its_place() -> None:
    assert len({feature.name for feature in FEATURES}) == len(FEATURES)
    assert len({feature.order for feature in FEATURES}) == len(FEATURES)
    assert [feature.order for feature in FEATURES] == sorted(feature.order for feature in FEATURES)


def test_each_key_has_one_owner() -> None:
    own = [key for feature in FEATURES for key in feature.settings.model_fields]
    assert len(own) == len(set(own))
    assert not set(own) & set(NodeSettings.model_fields)
    assert set(NODE_SETTINGS.model_fields) == {*own, *NodeSettings.model_fields}


@pytest.mark.parametrize(("key", "field"), list(keys()), ids=lambda value: value if isinstance(value, str) else "")
def test_each_key_has_a_sentence_and_examples_that_it_takes(key: str, field: FieldInfo) -> None:
    description = field.description or ""
    assert description[:1].isupper(), key
    assert description.endswith("."), key
    assert field.examples, key
    annotation: Any = field.annotation
    kind = create_model("Kind", __base__=Strict, key=(annotation, field))
    for example in field.examples:
        kind.model_validate({"key": example})


def test_each_page_names_the_keys_of_its_feature() -> None:
    missing = [
        f"{feature.name}: {key}"
        for feature in FEATURES
        for key in feature.settings.model_fields
        if f"`{key}" not in page(feature)
    ]
    assert not missing


def page(feature: Feature) -> str:
    return (FOLDER / feature.package.rpartition(".")[2] / "README.md").read_text()


def test_keys_of_settings_without_features_are_an_error() -> None:
    bare = NodeSettings.model_construct()
    with pytest.raises(TypeError, match=r"none of the keys of builder\.features\.swap\.settings"):
        keys_of(bare, SwapKeys)


def test_a_new_folder_is_a_new_feature_whatever_its_folder_is_called(project_folder: Path, tmp_path: Path) -> None:
    """Its key is known, its lines are in config.txt and in Debian's file beside the overclock's, and its name is its
    own."""
    code = tmp_path / "code"
    shutil.copytree(BUILDER, code / "builder", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(FAN, code / "builder/features/fan")
    (project_folder / "profiles/nodes/node-003.yaml").write_text("fan: 60\n")

    done = subprocess.run(
        [sys.executable, "-m", "builder", "plan", "node-003", "--role", "worker", "--base", DEBIAN],
        cwd=project_folder,
        env={**os.environ, "PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    asked = [line for line in done.stdout.splitlines() if "[cooler]" in line]
    assert [line.split("  ")[1] for line in asked] == [
        "patch boot:/config.txt: block 'cooler': [all]; dtoverlay=gpio-fan,temp=60000",
        "patch root:/etc/default/raspi-firmware-custom: block 'cooler': [all]; dtoverlay=gpio-fan,temp=60000",
    ]
