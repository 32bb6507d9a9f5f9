from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config.loading import load_config
from monitor.daemon.model import chosen_package
from monitor.errors import ConfigError
from tests.fakes import model_packages as toys

CONFIG = """\
servers:
  - name: demo
    kind: embedded
watch:
  models_dir: .
  model: toy
  model_variant: int8
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    toys.write_motion_package(tmp_path / "toy")
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    return file


def test_the_configured_variant_is_loaded(config: Path) -> None:
    toys.add_variant(config.parent / "toy", "int8", toys.motion_model())
    assert chosen_package(load_config(config, {})).name == "toy-motion@1.2.3+int8"


def test_an_unknown_variant_is_a_mistake_of_the_configuration_with_its_line(config: Path) -> None:
    toys.add_variant(config.parent / "toy", "fp16", toys.motion_model())
    with pytest.raises(ConfigError) as refused:
        chosen_package(load_config(config, {}))
    (problem,) = refused.value.problems
    assert (problem.where, problem.line) == ("watch.model_variant", 7)
    assert problem.what == "the model has no variant called int8"
    assert problem.mend == "its variants: fp16; remove this key for its main file"
