"""Every metric that Livecordon exports. Labels come from closed lists and start at zero; no stream is ever a label."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from prometheus_client import Counter, Gauge, Histogram, Info

from monitor.vocabulary import EffectKind, EffectOutcome, Freshness, ReviewDecision, Severity

_SCORES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
_CONTAINMENT_S = (0.5, 1, 1.5, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 300, 600)
"""Objectives of 5, 10 and 60 s are bounds of their own; what people are asked about first takes minutes."""

BUILD_INFO = Info("livecordon_build", "Version of this daemon.")
MODEL_INFO = Info(
    "livecordon_model", "Classifier packages in use: the one that judges, and the one beside it.", ["role"]
)

STREAMS = Gauge("livecordon_streams", "Live streams by how recent their last verdict is.", ["freshness"])
STREAMS_LISTED = Gauge("livecordon_streams_listed", "Live streams that a media server lists.", ["server"])
STREAMS_EXCLUDED = Gauge(
    "livecordon_streams_excluded", "Live streams that are not watched because the configuration says so.", ["server"]
)
SERVER_UP = Gauge("livecordon_server_up", "1 while the media server's control interface answers, else 0.", ["server"])
SERVER_DEGRADED = Gauge(
    "livecordon_server_degraded",
    "1 while a media server answers, but with something that cannot be relied on, else 0.",
    ["server"],
)
STREAMS_WITHHELD = Gauge(
    "livecordon_streams_withheld", "Streams that viewers do not see because of an incident under way.", ["how"]
)
VERDICT_AGE = Histogram(
    "livecordon_verdict_age_seconds",
    "Age of each live stream's last verdict, once for each stream and second.",
    buckets=(1, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120),
)
VERDICT_AGE_MAX = Gauge("livecordon_verdict_age_max_seconds", "Age of the oldest last verdict over all live streams.")

CLIPS = Counter("livecordon_clips_total", "Clips scored.")
CLIP_LAG = Histogram(
    "livecordon_clip_lag_seconds",
    "From the arrival of a clip's last frame to its score in the daemon.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5),
)
DECODE_CPU = Counter("livecordon_decode_cpu_seconds_total", "Processor time of the threads that read streams.")
INFERENCE_SECONDS = Counter("livecordon_inference_seconds_total", "Time that watchers spent on having clips scored.")
SCORES = Histogram("livecordon_score", "Score of each clip, for each label.", ["label"], buckets=_SCORES)
CLIPS_DROPPED = Counter("livecordon_clips_dropped_total", "Clips dropped before inference.", ["reason"])
CLIPS_FALLBACK = Counter("livecordon_clips_fallback_total", "Clips scored by the fallback of a remote model.")
CLASSIFIER_DEGRADED = Gauge(
    "livecordon_classifier_degraded_watchers", "Watchers whose remote model does not answer as it should."
)
SHADOW_CLIPS = Counter("livecordon_shadow_clips_total", "Clips for the model beside the acting one.", ["outcome"])
SHADOW_VERDICTS = Counter(
    "livecordon_shadow_verdicts_total",
    "Clips that both models scored, by whether each calls them a hit at a severity.",
    ["severity", "acting", "shadow"],
)
SHADOW_SCORES = Histogram(
    "livecordon_shadow_score",
    "Highest score of each clip that both models scored.",
    ["role"],
    buckets=_SCORES,
)
SHADOW_DIFFERENCE = Histogram(
    "livecordon_shadow_difference_score",
    "Largest difference between both models' scores of a clip, over the labels that both have.",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7),
)
SHADOW_CPU = Counter("livecordon_shadow_cpu_seconds_total", "Processor time of the model beside the acting one.")
SHADOW_FAILURES = Counter(
    "livecordon_shadow_failures_total", "Watchers that switched the model beside the acting one off because it failed."
)
SPOOL_BYTES = Gauge(
    "livecordon_spool_bytes", "Compressed video of each stream's last minute, kept on disk for evidence."
)
SPOOL_FAILURES = Counter("livecordon_spool_failures_total", "Pieces of video that could not be kept for evidence.")
WATCHERS = Gauge("livecordon_watchers", "Watcher processes that are ready.")
WATCHERS_RESIDENT = Gauge("livecordon_watchers_resident_bytes", "Memory of all watcher processes.")
WATCHERS_OUTDATED = Gauge("livecordon_watchers_outdated", "Watchers that another model's are about to replace.")
MODEL_SWAPS = Counter("livecordon_model_swaps_total", "Requests to take another model into use.", ["outcome"])
WATCHERS_RESERVED_CORES = Gauge(
    "livecordon_watchers_reserved_cores", "What all streams are reckoned to take, in core seconds per second."
)
WATCHERS_CAPACITY_CORES = Gauge(
    "livecordon_watchers_capacity_cores",
    "What the watchers that share the streams can give, in core seconds per second.",
)
WATCHER_FULLEST = Gauge("livecordon_watcher_fullest_ratio", "Reserved share of the watcher that has least room.")
WATCHER_RESTARTS = Counter("livecordon_watcher_restarts_total", "Watcher processes that were replaced.", ["reason"])
CLASSIFIER_RESTARTS = Counter(
    "livecordon_classifier_restarts_total", "Shared classifier processes that were replaced.", ["reason"]
)
STREAMS_QUARANTINED = Counter(
    "livecordon_streams_quarantined_total", "Streams given up because they kept killing their watcher."
)

STREAMS_GIVEN_UP = Gauge("livecordon_streams_given_up", "Live streams that are given up, and not watched.")

DETECTIONS = Counter("livecordon_detections_total", "Detections raised.", ["label", "severity"])
THRESHOLD = Gauge("livecordon_threshold_score", "Score that counts as a hit.", ["server", "app", "label", "severity"])
THRESHOLD_HOURS = Gauge(
    "livecordon_threshold_learnt_hours",
    "Stream-hours that a learnt threshold rests on.",
    ["server", "app", "label", "severity"],
)
THRESHOLD_FROZEN = Gauge(
    "livecordon_threshold_frozen",
    "1 while what was learnt lies outside the bounds of a threshold, so that it stays where it is.",
    ["server", "app", "label", "severity"],
)
THRESHOLD_CHANGES = Counter("livecordon_threshold_changes_total", "Learnt thresholds that came into force.", ["server"])
INCIDENTS_OPEN = Gauge("livecordon_incidents_open", "Incidents that are not closed.")
INCIDENTS = Gauge("livecordon_incidents", "Incidents that are not closed, by where they are.", ["protocol", "state"])
TRANSITIONS = Counter("livecordon_transitions_total", "Protocol transitions.", ["reason"])
DEADLINE_LAG = Histogram(
    "livecordon_deadline_lag_seconds",
    "How late protocol deadlines fired.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)
EFFECTS = Counter("livecordon_effects_total", "Effects that ended.", ["kind", "outcome"])
ONSET_TO_CONTAINED = Histogram(
    "livecordon_onset_to_contained_seconds",
    "From the first frame of the first clip that counted for a detection to its stream off the air.",
    ["route"],
    buckets=_CONTAINMENT_S,
)
DETECTION_TO_CONTAINED = Histogram(
    "livecordon_detection_to_contained_seconds",
    "From a detection to its stream off the air.",
    ["route"],
    buckets=_CONTAINMENT_S,
)
DECISION_TO_CONTAINED = Histogram(
    "livecordon_decision_to_contained_seconds",
    "From the decision to hold or cut a stream to the proof that it was done.",
    ["kind"],
    buckets=(0.25, 0.5, 1, 1.5, 2, 3, 4, 5, 7.5, 10, 15, 30, 60),
)
BARRED_LIVE = Gauge("livecordon_barred_live", "Publications of barred publishers that are live and could not be cut.")
REMAINS = Counter(
    "livecordon_remains_total", "Looks at what viewers may still fetch after a cut or hold.", ["server", "found"]
)
EMERGENCY_COMMANDS = Counter(
    "livecordon_emergency_commands_total", "Emergency commands, run where a cut was not carried out.", ["outcome"]
)
PAUSED = Gauge("livecordon_paused", "1 while containment is paused, on any media server.")
PAUSE_ENDS = Gauge("livecordon_pause_ends_timestamp_seconds", "When the last pause in force ends; 0 without one.")
EFFECTS_PAUSED = Gauge("livecordon_effects_paused", "Holds, cuts and blocks that wait for the end of a pause.")
SILENCES_ACTIVE = Gauge("livecordon_silences_active", "Silences of alerts in force.")
ALERTS_SILENCED = Counter("livecordon_alerts_silenced_total", "Alerts that were not sent because of a silence.")
REVIEWS_OVERDUE = Counter(
    "livecordon_reviews_overdue_total", "Reviews that nobody decided in time, passed on to the next group.", ["group"]
)
REVIEW_OVERDUE = Gauge(
    "livecordon_review_overdue_seconds", "For how long the review that is most overdue has been so; 0 if none is."
)
REVIEW_SECONDS = Histogram(
    "livecordon_review_seconds",
    "From the question to a responder's decision.",
    ["decision"],
    buckets=(5, 10, 20, 30, 45, 60, 90, 120, 300, 600, 1800, 3600, 14400, 86400),
)
ACKNOWLEDGEMENTS = Counter(
    "livecordon_acknowledgements_total", "Incidents that somebody said they are on, by the way they said so.", ["via"]
)
ACKNOWLEDGE_SECONDS = Histogram(
    "livecordon_acknowledge_seconds",
    "From the beginning of an incident to somebody saying that they are on it.",
    buckets=(5, 10, 20, 30, 45, 60, 90, 120, 300, 600, 1800, 3600, 14400, 86400),
)
REMINDERS = Counter(
    "livecordon_reminders_total", "Alerts sent again because nobody had said that they are on it.", ["receiver"]
)
AUDIT_ENTRIES = Gauge("livecordon_audit_entries", "Number of the newest entry of the audit log.")
AUDIT_HEAD_MISSING = Counter(
    "livecordon_audit_head_missing_total", "Starts that found entries of the audit log gone since the last stop."
)
CONFIG_RELOAD_OK = Gauge(
    "livecordon_config_reload_success", "1 if the configuration was in order when it was last read, else 0."
)
CONFIG_RELOAD_AT = Gauge(
    "livecordon_config_reload_success_timestamp_seconds", "When the configuration in force was read."
)
REVIEWS_PENDING = Gauge("livecordon_reviews_pending", "Reviews that wait for a responder.")

DELIVERIES = Counter("livecordon_deliveries_total", "Alert deliveries attempted.", ["receiver", "outcome"])
DELIVERIES_PENDING = Gauge("livecordon_deliveries_pending", "Alerts not yet delivered.", ["receiver"])
DELIVERY_OLDEST = Gauge("livecordon_delivery_oldest_seconds", "Age of the oldest undelivered alert.", ["receiver"])
DEAD_LETTERS = Gauge("livecordon_dead_letters", "Alerts that were given up.", ["receiver"])
RECEIVER_CERTIFICATE = Gauge(
    "livecordon_receiver_certificate_expiry_timestamp_seconds",
    "When the certificate expires that a receiver showed last.",
    ["receiver"],
)
RETENTION_DELETED = Counter("livecordon_retention_deleted", "What was deleted because of its age.", ["kind"])
RETENTION_FAILURES = Counter("livecordon_retention_failures", "Times at which that failed.", ["kind"])
RETENTION_DONE = Gauge(
    "livecordon_retention_success_timestamp_seconds", "When what is too old was last found gone.", ["kind"]
)
RECEIVER_DISABLED = Gauge("livecordon_receiver_disabled", "1 while a receiver asked for no more alerts.", ["receiver"])

GATE_DECISIONS = Counter("livecordon_gate_decisions_total", "Publish-gate answers.", ["decision"])
GATE_SECONDS = Histogram(
    "livecordon_gate_seconds",
    "Time to answer the publish gate.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5),
)
HTTP_REQUESTS = Counter("livecordon_http_requests_total", "Requests answered, by kind of client.", ["area", "code"])
BLOCKS_ACTIVE = Gauge("livecordon_blocks_active", "Publishers barred now.")
STRIKES_STANDING = Gauge("livecordon_strikes_standing", "Strikes that stand against publishers.")
REPORTS = Counter("livecordon_reports_total", "Reports by users.", ["outcome"])
PARTNER_EVENTS = Counter("livecordon_partner_events_total", "Events that partners sent.", ["outcome"])
STORE_FAILURES = Counter("livecordon_store_failures_total", "Store operations that failed.")
STORE_UNWRITTEN = Gauge("livecordon_store_unwritten", "Decisions acted upon that the store has not taken yet.")
STORE_SECONDS = Histogram(
    "livecordon_store_seconds",
    "Time that reads and writes of the store took, waiting for their turn included.",
    ["operation"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
STORE_BYTES = Gauge("livecordon_store_bytes", "Size of the store on disk.")
DISK_FREE = Gauge("livecordon_disk_free_bytes", "Room left where the daemon writes.", ["use"])
DISK_SIZE = Gauge("livecordon_disk_size_bytes", "Size of the file systems on which the daemon writes.", ["use"])
LOOP_LAG = Histogram(
    "livecordon_loop_lag_seconds",
    "How late the daemon's event loop woke from a sleep of a second.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
TIME = Gauge("livecordon_time_seconds", "The daemon's wall clock.")

DROP_REASONS = ("superseded", "overload", "stopped", "thinned", "no_classifier")
RESTART_REASONS = ("exit", "unresponsive", "seam", "fault")
SHADOW_OUTCOMES = ("scored", "dropped")
SWAP_OUTCOMES = ("swapped", "refused", "unchanged")
HTTP_AREAS = ("api", "page", "gate", "health")
HTTP_CODES = ("2xx", "3xx", "4xx", "5xx")
GATE_ANSWERS = ("allow", "deny", "malformed", "error")
PARTNER_OUTCOMES = (
    "taken",
    "repeated",
    "stale",
    "withdrawn",
    "refused",
    "ignored",
    "unauthenticated",
    "malformed",
    "too_many",
)
REPORT_OUTCOMES = ("taken", "ended", "duplicate", "too_many", "unknown")
EFFECT_OUTCOMES = (*(outcome.value for outcome in EffectOutcome), "withdrawn")
DELIVERY_OUTCOMES = ("delivered", "failed", "throttled", "gone", "dead")
WITHHELD = ("held", "contained")
ROUTES = ("direct", "waited")
REMAINS_FOUND = ("nothing", "visible", "unknown")
STORE_OPERATIONS = ("read", "write")
RETENTION_KINDS = ("evidence", "audit")
DISK_USES = ("store", "evidence", "spool")


def initialise() -> None:
    """Create every combination of closed labels at zero, so that rates and absent-alerts work before the first event."""
    _initialise_retention()
    _initialise_models()
    _initialise_containment()
    for operation in STORE_OPERATIONS:
        STORE_SECONDS.labels(operation)
    for freshness in Freshness:
        STREAMS.labels(freshness.value).set(0)
    for kind, outcome in product(EffectKind, EFFECT_OUTCOMES):
        EFFECTS.labels(kind.value, outcome)
    for reason in DROP_REASONS:
        CLIPS_DROPPED.labels(reason)
    for reason in RESTART_REASONS:
        WATCHER_RESTARTS.labels(reason)
        CLASSIFIER_RESTARTS.labels(reason)
    for answer in GATE_ANSWERS:
        GATE_DECISIONS.labels(answer)
    for fate in REPORT_OUTCOMES:
        REPORTS.labels(fate)
    for fate in PARTNER_OUTCOMES:
        PARTNER_EVENTS.labels(fate)
    for area, code in product(HTTP_AREAS, HTTP_CODES):
        HTTP_REQUESTS.labels(area, code)


def initialise_labels(labels: Iterable[str]) -> None:
    """Create at zero what is counted for each of a model's labels."""
    for label in labels:
        SCORES.labels(label)
        for severity in (Severity.REVIEW, Severity.ACT):
            DETECTIONS.labels(label, severity.word)


def _initialise_models() -> None:
    for outcome in SWAP_OUTCOMES:
        MODEL_SWAPS.labels(outcome)
    for outcome in SHADOW_OUTCOMES:
        SHADOW_CLIPS.labels(outcome)
    for level, acting, shadow in product((Severity.REVIEW, Severity.ACT), ("yes", "no"), ("yes", "no")):
        SHADOW_VERDICTS.labels(level.word, acting, shadow)
    for role in ("acting", "shadow"):
        SHADOW_SCORES.labels(role)


def _initialise_retention() -> None:
    for kind in RETENTION_KINDS:
        RETENTION_DELETED.labels(kind)
        RETENTION_FAILURES.labels(kind)


def _initialise_containment() -> None:
    for outcome in ("ran", "failed"):
        EMERGENCY_COMMANDS.labels(outcome)
    for how in WITHHELD:
        STREAMS_WITHHELD.labels(how).set(0)
    for route in ROUTES:
        ONSET_TO_CONTAINED.labels(route)
        DETECTION_TO_CONTAINED.labels(route)
    for kind in (EffectKind.HOLD, EffectKind.CUT):
        DECISION_TO_CONTAINED.labels(kind.value)
    for decision in ReviewDecision:
        REVIEW_SECONDS.labels(decision.value)
