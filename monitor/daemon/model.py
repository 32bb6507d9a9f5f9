"""The model package that the configuration chooses."""

from __future__ import annotations

import sys

from monitor.classify.adaptation import why_clips_do_not_do
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


def chosen_shadow(loaded: LoadedConfig, package: ModelPackage) -> ModelPackage | None:
    """Read and check the package that `watch.shadow_model` names, beside the acting `package`. Blocking.

    Raises:
        ConfigError: it cannot run beside that one: where watchers share a classifier, on an inference server, from the
            acting model's clips, or because it is the same; with the line of the configuration.
        ModelPackageError: there is no such package, or it is refused.
    """
    watch = loaded.config.watch
    if watch.shadow_model is None:
        return None
    shadow = load_package(find_package(watch.shadow_model, watch.models_dir))
    what, mend = "", "choose another one, or remove this key"
    shares = watch.classifier == "shared" or (watch.classifier == "auto" and watch.provider != "cpu")
    if shares and package.manifest.remote is None:
        what, mend = (
            "a second model cannot run where watchers share a classifier",
            "set classifier: own, or remove this key",
        )
    elif shadow.manifest.remote is not None:
        what = "a second model must run here, and this one is on an inference server"
    elif shadow.name == package.name:
        what = "this is the acting model itself"
    else:
        what = why_clips_do_not_do(shadow.name, shadow.clip_spec, package.clip_spec)
    if what:
        raise ConfigError([loaded.problem(("watch", "shadow_model"), what, mend)])
    return shadow
