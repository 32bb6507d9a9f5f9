"""By which rules a stream is judged: those of the model that scores it, learnt for that model or else configured."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.daemon.thresholds import Thresholds
from monitor.detect.persistence import DetectionRule
from monitor.metrics import initialise_labels
from monitor.vocabulary import StreamRef

Rules = Mapping[str, DetectionRule]


class Rulebook:
    """The rules of the model in force, and of the one before it while some streams are still scored by that."""

    def __init__(self, model: str, rules: Rules, thresholds: Thresholds | None) -> None:
        """Begin with one model, ``name@version``; `thresholds`, if any, know what was learnt from its scores."""
        self.model = model
        self._by_model = {model: rules}
        initialise_labels(rules)
        self._thresholds = thresholds

    def adopt(self, model: str, rules: Rules) -> None:
        """Another model is in force."""
        # Watchers with the model before may score for a while yet, but none with the one before that.
        self._by_model = {self.model: self._by_model[self.model], model: rules}
        self.model = model
        initialise_labels(rules)

    def knows(self, model: str) -> bool:
        """Whether there are rules for the scores of this model."""
        return model in self._by_model

    def learns_from(self, model: str) -> bool:
        """Whether thresholds are learnt from the scores of this model, and hold for it."""
        return self._thresholds is not None and self._thresholds.knows(model)

    def rules_for(self, ref: StreamRef, model: str) -> Rules:
        """Return the rules for a stream that is scored by `model`; those of the model in force if that is not known."""
        if self._thresholds is not None and self._thresholds.knows(model):
            return self._thresholds.rules_for(ref, model)
        return self._by_model.get(model, self._by_model[self.model])
