from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
import pytest
from typing_extensions import override

import monitor.web
from monitor.vocabulary import Freshness, ReviewDecision, Severity, StreamRef
from monitor.web import wording
from monitor.web.port import Check, IncidentDetail, ReviewView, ServerView
from monitor.web.server import WebServer
from monitor.web.threshold_values import ThresholdView
from tests.fakes.web_daemon import NOON, FakeDaemon, detail_of, incident, stream

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7*7 }}{% include '/etc/passwd' %}",
    "javascript:alert(1)",
    "</title></textarea></time><svg/onload=alert(1)>",
    "&lt;b&gt;&#x3C;i&#x3E;",
    "\u202egpj.exe\u2066\0\x1b[2J\udcff",
    "--><!--",
]


class Reader(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    @override
    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.tags if name == tag)


async def read(http: aiohttp.ClientSession, url: str, status: int = 200) -> Reader:
    async with http.get(url) as reply:
        assert reply.status == status
        assert reply.content_type == "text/html"
        reader = Reader()
        reader.feed(await reply.text())
    return reader


def nothing_runs(reader: Reader) -> None:
    assert [script.get("src") for script in reader.all("script")] in ([], ["/static/livecordon.js"])
    allowed_links = re.compile(r"^(/|#main)")
    for tag, attributes in reader.tags:
        assert tag not in {"svg", "iframe", "object", "embed", "base", "style", "b", "i"}
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("href", "src", "action"):
            if attributes.get(name) is not None:
                assert allowed_links.match(attributes[name] or ""), attributes[name]


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_is_only_ever_text(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession, text: str
) -> None:
    review = ReviewView(ReviewDecision.CONFIRM, text, text, NOON)
    summary = incident(1, title=text, review=review)
    detail = detail_of(summary)
    daemon.details["inc-0001"] = replace(
        detail,
        timeline=tuple(replace(entry, detail=text, actor=text) for entry in detail.timeline),
        effects=tuple(replace(effect, detail=text) for effect in detail.effects),
    )
    daemon.details["inc-0002"] = detail_of(incident(2, title=text, reviewable=False, review=review))
    daemon.details["inc-0003"] = detail_of(incident(3, title=text, reviewable=False, closed_at=NOON, review=review))
    daemon.stream_views = [stream(title=text, incident_id="inc-0001", detail=text)]
    daemon.server_views = [ServerView("studio", "nginx_rtmp", True, "", False, 1, warnings=(text,))]
    daemon.ready_checks = [Check("store", ok=False, detail=text)]
    await daemon.add(StreamRef("studio", "live", text), until=None, by=text, why=text)
    for path in ("/", "/fragments/overview", "/incidents/inc-0001", "/fragments/incidents/inc-0001", "/blocks"):
        reader = await read(http, open_web.url + path)
        nothing_runs(reader)
        visible = text if text.isprintable() else "\\u202egpj.exe\\u2066\\u0000\\u001b[2J\\udcff"
        assert visible in reader.text, path
        assert "49" not in reader.text.replace("1 749", "") or "7*7" not in text


# aiohttp matches no braces in a path; such an id would be 404.
@pytest.mark.parametrize("text", [text for text in HOSTILE if "{" not in text])
async def test_hostile_incident_ids_stay_inside_their_address(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession, text: str
) -> None:
    if not text.isprintable():
        text = "a/b?c#d"
    daemon.details[text] = IncidentDetail(incident(1, incident_id=text))
    reader = await read(http, open_web.url + "/")
    nothing_runs(reader)
    links = [link["href"] for link in reader.all("a") if (link.get("id") or "").startswith("incident-")]
    from yarl import URL

    page = await read(http, str(URL(open_web.url)) + (links[0] or ""))
    assert "live/cam1" in page.text


async def test_the_overview_sorts_by_what_waits_for_a_person(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(1, title="live/later", review_due=NOON + timedelta(minutes=5)))
    daemon.open(incident(2, title="live/soon", review_due=NOON + timedelta(seconds=10)))
    daemon.open(incident(3, title="live/whenever", review_due=None))
    daemon.open(incident(4, title="live/acting", reviewable=False))
    daemon.open(incident(5, title="live/over", reviewable=False, closed_at=NOON))
    text = (await read(http, open_web.url + "/")).text
    places = [text.index(f"live/{name}") for name in ("soon", "later", "whenever", "acting", "over")]
    assert places == sorted(places)
    assert "(3) Live" in text
    assert "decide within 10 s" in text


async def test_dry_run_blindness_and_degradation_are_said_loudly(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    calm = (await read(http, open_web.url + "/")).text
    for words in ("Dry run.", "not being watched", "Degraded"):
        assert words not in calm
    daemon.dry_run = True
    daemon.stream_views = [stream("a", freshness=Freshness.BLIND), stream("b", freshness=Freshness.BLIND), stream("c")]
    daemon.ready_checks.append(Check("classifier", ok=False, detail="inference failed"))
    daemon.notify()
    loud = (await read(http, open_web.url + "/")).text
    assert "Dry run." in loud
    assert "2 streams are not being watched" in loud
    assert "Degraded" in loud
    assert "classifier: inference failed" in loud


async def test_the_overview_is_rendered_once_per_change_and_second(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    async def shown() -> str:
        return (await read(http, open_web.url + "/fragments/overview")).text

    assert "live/cam1" in await shown()
    daemon.stream_views = [stream("cam2")]
    assert "live/cam1" in await shown()
    daemon.clock.at_s += 1
    assert "live/cam2" in await shown()
    daemon.stream_views = [stream("cam3")]
    daemon.notify()
    assert "live/cam3" in await shown()


async def test_a_broken_store_leaves_the_streams_visible(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.store_broken = True
    reader = await read(http, open_web.url + "/")
    assert "The store does not answer" in reader.text
    assert "Nothing waits for you" not in reader.text
    assert "live/cam1" in reader.text
    await read(http, open_web.url + "/incidents/inc-0001", status=503)


async def test_dismissing_by_form_leads_back_to_the_incident(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(1))
    before = await read(http, open_web.url + "/incidents/inc-0001")
    forms = [form["action"] for form in before.all("form")]
    assert forms == ["/incidents/inc-0001/acknowledge", "/incidents/inc-0001/review"]
    form = {"decision": "dismiss", "why": "A stage fight."}
    async with http.post(open_web.url + "/incidents/inc-0001/review", data=form) as reply:
        assert reply.status == 200
        assert str(reply.url).endswith("/incidents/inc-0001")
        text = await reply.text()
    assert "Dismissed" in text
    assert "A stage fight." in text
    assert "/review" not in text


async def test_a_late_decision_shows_the_earlier_one_and_loses_no_words(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    earlier = ReviewView(ReviewDecision.CONFIRM, "ana", "People are hurt.", NOON)
    daemon.open(incident(1, review=earlier, reviewable=True))
    form = {"decision": "dismiss", "why": "I saw <nothing> bad"}
    async with http.post(open_web.url + "/incidents/inc-0001/review", data=form) as reply:
        assert reply.status == 409
        text = await reply.text()
    assert "already decided: confirm by ana" in text
    assert "I saw &lt;nothing&gt; bad" in text


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"decision": "dismiss", "why": " "}, "why is empty"),
        ({"decision": "dismiss"}, "why is empty"),
        ({"why": "seen it"}, "there is no such decision"),
        ({"decision": "cut", "why": "seen it"}, "there is no such decision"),
    ],
)
async def test_an_incomplete_form_comes_back_with_the_reason(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession, form: dict[str, str], words: str
) -> None:
    daemon.open(incident(1))
    async with http.post(open_web.url + "/incidents/inc-0001/review", data=form) as reply:
        assert reply.status == 400
        assert words in await reply.text()
    assert daemon.details["inc-0001"].summary.review is None


async def test_a_form_for_no_incident_is_404(open_web: WebServer, http: aiohttp.ClientSession) -> None:
    form = {"decision": "dismiss", "why": "seen it"}
    async with http.post(open_web.url + "/incidents/nope/review", data=form) as reply:
        assert reply.status == 404


@pytest.mark.parametrize("data", [b"why=%ff%fe&decision=dismiss", b"\xff\xfe", b"&".join([b"a=1"] * 100)])
async def test_broken_forms_are_400(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession, data: bytes
) -> None:
    daemon.open(incident(1))
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    async with http.post(open_web.url + "/incidents/inc-0001/review", data=data, headers=headers) as reply:
        assert reply.status == 400


async def test_viewers_get_no_form(token_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession) -> None:
    daemon.open(incident(1))
    headers = {"Authorization": "Bearer viewer-token-0123456789"}
    async with http.get(token_web.url + "/incidents/inc-0001", headers=headers) as reply:
        text = await reply.text()
    assert "<textarea" not in text
    assert "A responder has to decide" in text
    async with http.get(token_web.url + "/blocks", headers=headers) as reply:
        assert "Lift block" not in await reply.text()


async def test_a_block_is_lifted_from_the_page(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    ref = StreamRef("studio", "live", "x y")
    await daemon.add(ref, until=NOON + timedelta(days=1), by="protocol", why="Confirmed.")
    url = f"{open_web.url}/blocks/{ref.stream_id}/remove"
    async with http.post(url, data={"why": ""}) as reply:
        assert reply.status == 400
        assert "why is empty" in await reply.text()
    assert daemon.is_blocked(ref)
    async with http.post(url, data={"why": "It was a mistake."}) as reply:
        assert reply.status == 200
        assert "Nobody is blocked" in await reply.text()
    assert daemon.removed == [(ref, "local", "It was a mistake.")]


async def test_the_page_is_usable_without_scripts(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    reader = await read(http, open_web.url + "/")
    assert {"http-equiv": "refresh", "content": "5"} in list(reader.all("meta"))
    daemon.open(incident(1))
    # A page with a form must not be refreshed under somebody's fingers.
    reader = await read(http, open_web.url + "/incidents/inc-0001")
    assert [meta for meta in reader.all("meta") if "http-equiv" in meta] == []


async def test_files_outside_the_list_are_not_served(open_web: WebServer, http: aiohttp.ClientSession) -> None:
    from yarl import URL

    for path in ("/static/../app.py", "/static/%2e%2e%2fapp.py", "/static/..%2Ftemplates%2Fbase.html", "/static/x.css"):
        async with http.get(URL(open_web.url + path, encoded=True)) as reply:
            assert reply.status == 404
    async with http.get(open_web.url + "/static/livecordon.js") as reply:
        assert reply.content_type == "text/javascript"


def test_templates_hold_nothing_that_the_policy_forbids() -> None:
    package = Path(monitor.web.__file__).parent
    templates = sorted((package / "templates").glob("*.html"))
    assert len(templates) > 5
    for template in templates:
        text = template.read_text()
        assert re.search(r"\sstyle=|<style|\son\w+=|javascript:|\|\s*safe\b|autoescape", text) is None, template.name
        assert re.findall(r"<script(?![^>]*\ssrc=)", text) == [], template.name
        assert "http://" not in text.replace("http-equiv", ""), template.name
        assert "https://" not in text, template.name


@pytest.mark.parametrize("severity", list(Severity))
async def test_severity_is_told_by_word_and_shape_not_by_colour_alone(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession, severity: Severity
) -> None:
    daemon.stream_views = [stream(severity=severity)]
    text = (await read(http, open_web.url + "/")).text
    shape = {Severity.NONE: "○", Severity.REVIEW: "◆", Severity.ACT: "▲"}[severity]
    assert f"{shape} {severity.word}" in text


@pytest.mark.parametrize(
    ("duration_s", "words"),
    [
        (-3, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (172800, "2 days"),
    ],
)
def test_spans_read_well(duration_s: float, words: str) -> None:
    assert wording.span(duration_s) == words


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_468_006, "1.4 MiB"), (5 << 40, "5120.0 GiB")],
)
def test_sizes_read_well(size_bytes: int, words: str) -> None:
    assert wording.size(size_bytes) == words


async def test_learnt_thresholds_are_shown_and_configured_ones_are_not(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    assert "Learnt thresholds" not in (await read(http, open_web.url)).text
    learning = ThresholdView(
        "studio", "*", "violence", Severity.REVIEW, 0.732, 0.732, 20.0, hours=3.2, hours_needed=62.5
    )
    daemon.threshold_views = [learning, ThresholdView("studio", "*", "violence", Severity.ACT, 0.987, 0.987)]
    daemon.notify()
    reader = await read(http, open_web.url)
    nothing_runs(reader)
    text = " ".join(reader.text.split())
    assert "0.732 the default, still" in text
    assert "none counted yet budget 20 per 1,000 h" in text
    assert "3.2 h of 62.5 needed" in text
    assert "0.987" not in text
    frozen = replace(
        learning, threshold=0.81, learnt=True, hours=312.0, counted_per_1000_h=17.2, frozen=True, app="<b>sport</b>"
    )
    daemon.threshold_views = [frozen]
    daemon.notify()
    reader = await read(http, open_web.url)
    nothing_runs(reader)
    text = " ".join(reader.text.split())
    assert "studio/<b>sport</b>" in text
    assert "0.810 default 0.732 frozen: look at it" in text
    assert "17.2 counted" in text
