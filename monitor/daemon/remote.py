"""Where a remote model runs, from the configuration; and what operators see while it does not answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from monitor import metrics
from monitor.classify.package import ModelPackage, find_package, load_package
from monitor.classify.remote import RemoteSettings
from monitor.config.loading import LoadedConfig
from monitor.config.secrets import resolve_secret
from monitor.daemon.views import Vitals
from monitor.errors import ConfigError, ModelPackageError
from monitor.watch.view import WatcherView

_PLACE: Final = ("watch", "remote")


def remote_settings(loaded: LoadedConfig, package: ModelPackage, environ: Mapping[str, str]) -> RemoteSettings | None:
    """Return how watchers reach a remote model; None for one that runs here. Blocking; asks no server.

    Raises:
        ConfigError: the package is remote and `watch.remote` is missing, or the other way round, or its secret is.
        ModelPackageError: the fallback is refused, or cannot stand in for the model.
    """
    watch = loaded.config.watch
    section = watch.remote
    if package.manifest.remote is None:
        if section is None:
            return None
        what = f"the model {package.name} runs here, and is on no server"
        raise ConfigError(
            [loaded.problem(_PLACE, what, "remove this, or choose a package with `remote` in its manifest")]
        )
    if section is None:
        what = f"the model {package.name} is on an inference server, and nothing says where"
        raise ConfigError([loaded.problem(("watch", "model"), what, "add watch.remote with its url")])
    if section.fallback is not None:
        # Both libraries that it brings along take a while, and are of no other use to the daemon.
        from monitor.classify.stand_in import why_it_cannot_stand_in  # noqa: PLC0415 - see above

        try:
            what = why_it_cannot_stand_in(load_package(find_package(section.fallback, watch.models_dir)), package)
        except ModelPackageError as error:
            what = str(error.problems[0])
        if what:
            mend = "choose another one, or none"
            raise ConfigError([loaded.problem((*_PLACE, "fallback"), what, mend)])
    return RemoteSettings(
        url=section.url,
        timeout_s=section.timeout,
        token="" if section.token is None else resolve_secret(section.token, environ).get_secret_value(),
        failures=section.failures,
        retry_s=section.retry,
        fallback=section.fallback,
    )


def show_classifiers(vitals: Vitals, views: Sequence[WatcherView]) -> None:
    """Tell what watchers say about a remote classifier that they cannot use: in the metrics, on pages and in probes."""
    troubled = [view.stats for view in views if view.ready and view.stats is not None and view.stats.classifier_trouble]
    metrics.CLASSIFIER_DEGRADED.set(len(troubled))
    serving = sorted({stats.classifier_serving for stats in troubled})
    # One watcher without any scores is worse than all others with the fallback's.
    lost = next((stats.classifier_trouble for stats in troubled if not stats.classifier_serving), "")
    fallback = "" if lost or not serving else serving[-1]
    if fallback:
        # Time and again: a watcher that starts meanwhile says what it should be.
        metrics.MODEL_INFO.labels("acting").info({"model": fallback, "provider": "fallback"})
    elif vitals.fallback:
        metrics.MODEL_INFO.labels("acting").info({"model": vitals.model, "provider": "kserve_v2"})
    vitals.classifier_lost, vitals.fallback = lost, fallback
    vitals.classifier_trouble = troubled[0].classifier_trouble if troubled else ""
