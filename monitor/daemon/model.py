"""The model package that the configuration chooses."""

from __future__ import annotations

import sys

from monitor.classify.package import ModelPackage, find_package, load_package, read_manifest, variants_of
from monitor.config.loading import LoadedConfig
from monitor.errors import ConfigError


def chosen_package(loaded: LoadedConfig) -> ModelPackage:
    """Read and check the package that `watch` names, and that it can be run as `watch` asks. Blocking.

    Raises:
        ConfigError: there is no such variant, or it cannot be run so; with the line of the configuration.
        ModelPackageError: there is no such package, or it is refused.
    """
    watch = loaded.config.watch
    folder = find_package(watch.model, watch.models_dir)
    manifest, _ = read_manifest(folder)
    problems = []
    if watch.model_variant is not None and watch.model_variant not in manifest.variants:
        what = f"the model has no variant called {watch.model_variant}"
        mend = f"its variants: {variants_of(manifest)}; remove this key for its main file"
        problems.append(loaded.problem(("watch", "model_variant"), what, mend))
    if watch.classifier == "shared" and sys.platform != "linux":
        what = "watchers can share a classifier on Linux only"
        problems.append(loaded.problem(("watch", "classifier"), what, "use own"))
    if watch.classifier == "shared" and manifest.remote is not None:
        what = "the model runs on an inference server, which all watchers share already"
        problems.append(loaded.problem(("watch", "classifier"), what, "use own"))
    if problems:
        raise ConfigError(problems)
    return load_package(folder, watch.model_variant)
