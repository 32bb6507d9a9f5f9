from __future__ import annotations

import aiohttp
import pytest

from monitor.config.models import TokenEntry, WebSection
from monitor.config.section import Secret
from monitor.errors import ConfigError
from monitor.web import auth
from monitor.web.server import WebServer
from monitor.web.settings import AccessToken, Listen, Role, WebSettings, is_loopback_host
from tests.fakes.web_daemon import FakeDaemon, incident

VIEWER, RESPONDER, ADMIN = "viewer-token-0123456789", "responder-token-0123456789", "admin-token-0123456789"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


WHY = {"why": "seen and judged"}
MATRIX = [
    # method, path, body, status for: nobody, wrong token, viewer, responder, admin
    ("GET", "/api/v1/session", None, (401, 401, 200, 200, 200)),
    ("GET", "/api/v1/status", None, (401, 401, 200, 200, 200)),
    ("GET", "/api/v1/streams", None, (401, 401, 200, 200, 200)),
    ("GET", "/api/v1/incidents", None, (401, 401, 200, 200, 200)),
    ("GET", "/api/v1/incidents/inc-0001", None, (401, 401, 200, 200, 200)),
    ("GET", "/api/v1/blocks", None, (401, 401, 200, 200, 200)),
    (
        "POST",
        "/api/v1/incidents/inc-0001/review",
        {"decision": "confirm", **WHY},
        (401, 401, 403, 200, 200),
    ),
    (
        "POST",
        "/api/v1/blocks",
        {"server": "studio", "app": "live", "name": "x", "for": "1h", **WHY},
        (401, 401, 403, 403, 201),
    ),
    ("DELETE", "/api/v1/blocks/studio-0", WHY, (401, 401, 403, 403, 404)),
    ("GET", "/api/v1/policies", None, (401, 401, 200, 200, 200)),
    ("GET", "/api/v1/strikes", None, (401, 401, 200, 200, 200)),
    (
        "POST",
        "/api/v1/strikes",
        {"policy": "live-violence", "context": "none", "why": "a threat", "account": "u1", "server": "studio"},
        (401, 401, 403, 403, 201),
    ),
    ("DELETE", "/api/v1/strikes/strike-9", WHY, (401, 401, 403, 403, 404)),
    (
        "POST",
        "/api/v1/reports",
        {"stream_id": "studio-0", "category": "hate", "reporter": "u1"},
        (401, 401, 202, 202, 202),
    ),
    ("POST", "/api/v1/blocks/import", {"blocks": ""}, (401, 401, 403, 403, 400)),
    ("GET", "/api/v1/blocks/export", None, (401, 401, 403, 403, 200)),
    ("GET", "/metrics", None, (401, 401, 200, 200, 200)),
    ("GET", "/events", None, (401, 401, 200, 200, 200)),
    ("GET", "/fragments/overview", None, (401, 401, 200, 200, 200)),
    ("GET", "/fragments/incidents/inc-0001", None, (401, 401, 200, 200, 200)),
    ("GET", "/", None, (303, 303, 200, 200, 200)),
    ("GET", "/incidents/inc-0001", None, (303, 303, 200, 200, 200)),
    ("GET", "/status", None, (303, 303, 200, 200, 200)),
    ("GET", "/fragments/status", None, (401, 401, 200, 200, 200)),
    ("GET", "/blocks", None, (303, 303, 200, 200, 200)),
    ("GET", "/api/v1/thresholds", None, (401, 401, 200, 200, 200)),
    ("GET", "/api/v1/partners/alerts", None, (401, 401, 404, 404, 404)),
    ("GET", "/api/v1/silences", None, (401, 401, 200, 200, 200)),
    ("POST", "/api/v1/silences", {"for": "x"}, (401, 401, 403, 400, 400)),
    ("DELETE", "/api/v1/silences/nothing", {"why": "x"}, (401, 401, 403, 400, 400)),
    ("POST", "/api/v1/pause", {"for": "x"}, (401, 401, 403, 403, 400)),
    ("DELETE", "/api/v1/pause", {"why": "x"}, (401, 401, 403, 404, 404)),
    ("POST", "/api/v1/drills", {"stream_id": "nothing"}, (401, 401, 403, 403, 404)),
    # Served without deliveries here: 404 is what those get who may.
    ("GET", "/api/v1/receivers", None, (401, 401, 404, 404, 404)),
    ("POST", "/api/v1/receivers/partner/enable", WHY, (401, 401, 403, 403, 404)),
    ("GET", "/api/v1/deliveries", None, (401, 401, 404, 404, 404)),
    ("GET", "/api/v1/deliveries/nothing", None, (401, 401, 404, 404, 404)),
    ("POST", "/api/v1/deliveries/replay", {"receiver": "partner", **WHY}, (401, 401, 403, 404, 404)),
    ("POST", "/api/v1/deliveries/discard", {"receiver": "partner", **WHY}, (401, 401, 403, 403, 404)),
    ("GET", "/deliveries", None, (303, 303, 404, 404, 404)),
    ("POST", "/deliveries/replay", None, (401, 401, 403, 415, 415)),
    ("POST", "/deliveries/discard", None, (401, 401, 403, 403, 415)),
    ("POST", "/receivers/partner/enable", None, (401, 401, 403, 403, 415)),
    ("POST", "/silences/nothing/end", None, (401, 401, 403, 415, 415)),
    ("POST", "/incidents/inc-0001/review", None, (401, 401, 403, 415, 415)),
    ("POST", "/incidents/inc-0001/acknowledge", None, (401, 401, 403, 415, 415)),
    ("POST", "/api/v1/incidents/none/acknowledge", {}, (401, 401, 403, 404, 404)),
    ("POST", "/blocks/studio-0/remove", None, (401, 401, 403, 403, 415)),
    ("GET", "/livez", None, (200, 200, 200, 200, 200)),
    ("GET", "/healthz", None, (200, 200, 200, 200, 200)),
    ("GET", "/readyz", None, (200, 200, 200, 200, 200)),
    ("GET", "/startupz", None, (200, 200, 200, 200, 200)),
    ("GET", "/login", None, (200, 200, 200, 200, 200)),
    ("GET", "/static/livecordon.css", None, (200, 200, 200, 200, 200)),
    ("GET", "/nowhere", None, (404, 404, 404, 404, 404)),
    ("GET", "/api/v1/nowhere", None, (404, 404, 404, 404, 404)),
    ("PUT", "/api/v1/streams", None, (405, 405, 405, 405, 405)),
]


@pytest.mark.parametrize(("method", "path", "body", "expected"), MATRIX, ids=[f"{m} {p}" for m, p, _, _ in MATRIX])
async def test_each_role_gets_what_it_may(
    *,
    token_web: WebServer,
    daemon: FakeDaemon,
    http: aiohttp.ClientSession,
    method: str,
    path: str,
    body: dict[str, str] | None,
    expected: tuple[int, ...],
) -> None:
    got = []
    for token in (None, "wrong-token-0123456789", VIEWER, RESPONDER, ADMIN):
        daemon.open(incident(1))
        headers = {} if token is None else bearer(token)
        async with http.request(
            method, token_web.url + path, headers=headers, json=body, allow_redirects=False
        ) as reply:
            got.append(reply.status)
            if reply.status == 401:
                assert reply.headers["WWW-Authenticate"].startswith("Bearer")
            if path.startswith("/api/") and reply.status >= 400:
                error = (await reply.json())["error"]
                assert set(error) <= {"reason", "message", "field"}
                assert error["message"]
    assert tuple(got) == expected


def test_the_matrix_covers_every_guarded_route() -> None:
    from monitor.web import gate
    from monitor.web.app import MAIN_ROUTES

    def covered(method: str, path: str) -> bool:
        pattern = path.split("/")
        return any(
            m == method
            and len(p.split("/")) == len(pattern)
            and all(want == part or want.startswith("{") for want, part in zip(pattern, p.split("/"), strict=True))
            for m, p, _, _ in MATRIX
        )

    routes = [route for route in (*MAIN_ROUTES, *gate.ROUTES) if route.access is not None]
    assert len(routes) > 15
    assert [f"{route.method} {route.path}" for route in routes if not covered(route.method, route.path)] == []


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", f"Basic {ADMIN}", ADMIN, "Bearer \udcff", f"Bearer {ADMIN}x"]
)
async def test_malformed_authorization_is_nobody(
    token_web: WebServer, http: aiohttp.ClientSession, authorization: str
) -> None:
    headers = {"Authorization": authorization.encode("utf-8", "surrogateescape").decode("latin-1")}
    async with http.get(token_web.url + "/api/v1/session", headers=headers) as reply:
        assert reply.status == 401


async def test_in_open_mode_everybody_on_loopback_is_local_admin(
    open_web: WebServer, http: aiohttp.ClientSession
) -> None:
    async with http.get(open_web.url + "/api/v1/session") as reply:
        assert await reply.json() == {"name": "local", "role": "admin"}


@pytest.mark.parametrize("path", ["/", "/api/v1/streams", "/metrics", "/events", "/fragments/overview", "/login"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8930", "127.0.0.1.evil.example", "10.0.0.5", "[::2]:80", ""]
)
async def test_open_mode_refuses_rebound_names(
    open_web: WebServer, http: aiohttp.ClientSession, path: str, host: str
) -> None:
    async with http.get(open_web.url + path, headers={"Host": host}, allow_redirects=False) as reply:
        assert reply.status == 403
        assert "localhost" in await reply.text()


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "LOCALHOST.", "127.0.0.1:8930", "127.9.9.9", "[::1]:8930"]
)
async def test_open_mode_answers_loopback_names(open_web: WebServer, http: aiohttp.ClientSession, host: str) -> None:
    async with http.get(open_web.url + "/api/v1/streams", headers={"Host": host}) as reply:
        assert reply.status == 200


async def test_probes_answer_whatever_the_host(open_web: WebServer, http: aiohttp.ClientSession) -> None:
    async with http.get(open_web.url + "/livez", headers={"Host": "pod-7.cluster"}) as reply:
        assert reply.status == 200
    async with http.get(open_web.url + "/readyz?verbose", headers={"Host": "pod-7.cluster"}) as reply:
        # Names of checks, but no details for a stranger's page.
        assert await reply.text() == "ready\n[+] model\n[+] store\n"


CROSS_SITE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://[broken"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
]


@pytest.mark.parametrize("headers", CROSS_SITE)
async def test_another_sites_page_changes_nothing(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    daemon.open(incident(1))
    form = {"decision": "dismiss", "why": "made by another page"}
    async with http.post(
        f"{open_web.url}/incidents/inc-0001/review", data=form, headers=headers, allow_redirects=False
    ) as reply:
        assert reply.status == 403
    async with http.post(f"{open_web.url}/api/v1/incidents/inc-0001/review", json=form, headers=headers) as reply:
        assert reply.status == 403
        assert (await reply.json())["error"]["reason"] == "cross_site"
    assert daemon.details["inc-0001"].summary.review is None


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "same-origin", "Origin": "null"}, {"Sec-Fetch-Site": "none"}]
)
async def test_the_own_page_may_change_things(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    daemon.open(incident(1))
    form = {"decision": "dismiss", "why": "a rehearsal"}
    async with http.post(
        f"{open_web.url}/incidents/inc-0001/review", data=form, headers=headers, allow_redirects=False
    ) as reply:
        assert reply.status == 303
    assert daemon.details["inc-0001"].summary.state == "dismissed"


async def test_own_origin_is_trusted_without_fetch_metadata(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(1))
    form = {"decision": "dismiss", "why": "a rehearsal"}
    url = f"{open_web.url}/incidents/inc-0001/review"
    async with http.post(url, data=form, headers={"Origin": open_web.url}, allow_redirects=False) as reply:
        assert reply.status == 303


async def test_a_form_cannot_pass_for_json(
    open_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(1))
    text = '{"decision": "dismiss", "why": "from a form"}'
    url = f"{open_web.url}/api/v1/incidents/inc-0001/review"
    async with http.post(url, data=text, headers={"Content-Type": "text/plain"}) as reply:
        assert reply.status == 415
    assert daemon.details["inc-0001"].summary.review is None


async def test_a_session_is_opened_used_and_ended(
    token_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession
) -> None:
    daemon.open(incident(1))
    login = token_web.url + "/login"
    async with http.post(
        login, data={"token": RESPONDER, "next": "/incidents/inc-0001"}, allow_redirects=False
    ) as reply:
        assert reply.status == 303
        assert reply.headers["Location"] == "/incidents/inc-0001"
        cookie = reply.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie
    assert RESPONDER not in cookie
    crumbs = {"Cookie": cookie.partition(";")[0]}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as bare:
        async with bare.get(token_web.url + "/api/v1/session", headers=crumbs) as reply:
            assert await reply.json() == {"name": "ana", "role": "responder"}
        async with bare.get(token_web.url + "/api/v1/session", headers={**crumbs, **bearer("wrong")}) as reply:
            assert reply.status == 401
        form = {"decision": "dismiss", "why": "made by another page"}
        review = f"{token_web.url}/incidents/inc-0001/review"
        async with bare.post(review, data=form, headers={**crumbs, "Origin": "http://evil.example"}) as reply:
            assert reply.status == 403
        async with bare.post(token_web.url + "/logout", headers=crumbs, allow_redirects=False) as reply:
            assert reply.headers["Location"] == "/login"
        async with bare.get(token_web.url + "/api/v1/session", headers=crumbs) as reply:
            assert reply.status == 401
    assert daemon.details["inc-0001"].summary.review is None


async def test_a_session_ends_by_itself(token_web: WebServer, daemon: FakeDaemon, http: aiohttp.ClientSession) -> None:
    async with http.post(token_web.url + "/login", data={"token": VIEWER}, allow_redirects=False) as reply:
        crumbs = {"Cookie": reply.headers["Set-Cookie"].partition(";")[0]}
    daemon.clock.at_s += auth.SESSION_S - 1
    async with http.get(token_web.url + "/api/v1/session", headers=crumbs) as reply:
        assert reply.status == 200
    daemon.clock.at_s += 1
    async with http.get(token_web.url + "/api/v1/session", headers=crumbs) as reply:
        assert reply.status == 401


async def test_the_cookie_is_secure_behind_tls(token_web: WebServer, http: aiohttp.ClientSession) -> None:
    headers = {"X-Forwarded-Proto": "https"}
    async with http.post(
        token_web.url + "/login", data={"token": VIEWER}, headers=headers, allow_redirects=False
    ) as reply:
        assert "Secure" in reply.headers["Set-Cookie"]


async def test_a_wrong_token_opens_no_session(token_web: WebServer, http: aiohttp.ClientSession) -> None:
    async with http.post(token_web.url + "/login", data={"token": "guess"}) as reply:
        assert reply.status == 401
        assert "Set-Cookie" not in reply.headers
        assert "No such token" in await reply.text()


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nSet-Cookie: x", "x"]
)
async def test_signing_in_leads_to_no_other_site(
    token_web: WebServer, http: aiohttp.ClientSession, target: str
) -> None:
    form = {"token": VIEWER, "next": target}
    async with http.post(token_web.url + "/login", data=form, allow_redirects=False) as reply:
        assert reply.headers["Location"] == "/"


async def test_signing_in_from_another_site_is_refused(token_web: WebServer, http: aiohttp.ClientSession) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    async with http.post(token_web.url + "/login", data={"token": VIEWER}, headers=headers) as reply:
        assert reply.status == 403
        assert "Set-Cookie" not in reply.headers


async def test_pages_send_strangers_to_the_form_and_back(token_web: WebServer, http: aiohttp.ClientSession) -> None:
    async with http.get(token_web.url + "/incidents/a%20b", allow_redirects=False) as reply:
        assert reply.headers["Location"] == "/login?next=/incidents/a%20b"


async def test_strangers_learn_nothing_from_error_pages(token_web: WebServer, http: aiohttp.ClientSession) -> None:
    async with http.get(token_web.url + "/nowhere") as reply:
        text = await reply.text()
    assert "violent-motion" not in text
    assert "studio" not in text


def test_sessions_are_bounded(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_SESSIONS", 3)
    token = AccessToken("vera", Role.VIEWER, VIEWER)
    authenticator = auth.Authenticator([token], daemon.clock)
    for _ in range(10):
        authenticator.open_session(token)
    assert len(authenticator._sessions) == 3


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        (WebSettings(listen=Listen("0.0.0.0", 0), gate_token="g" * 16), "web.listen"),
        (WebSettings(listen=Listen("::", 0), gate_token="g" * 16), "web.listen"),
        (WebSettings(gate_listen=Listen("0.0.0.0", 0)), "web.gate_token"),
        (WebSettings(listen=Listen("10.0.0.1", 0), tokens=(AccessToken("a", Role.ADMIN, "x" * 16),)), "web.gate_token"),
        (WebSettings(tokens=(AccessToken("a", Role.ADMIN, "short"),)), "web.tokens.a"),
        (WebSettings(gate_token="short"), "web.gate_token"),
        (
            WebSettings(tokens=(AccessToken("a", Role.ADMIN, "x" * 16), AccessToken("b", Role.VIEWER, "x" * 16))),
            "web.tokens",
        ),
    ],
)
async def test_unsafe_settings_never_listen(settings: WebSettings, where: str, daemon: FakeDaemon) -> None:
    web = WebServer(settings, daemon=daemon, incidents=daemon, blocks=daemon, quiet=daemon, gate=daemon)
    with pytest.raises(ConfigError) as caught:
        await web.__aenter__()
    assert [problem.where for problem in caught.value.problems] == [where]
    assert "short" not in str(caught.value).replace("too short", "")


def test_settings_come_from_the_configuration() -> None:
    section = WebSection(
        listen="[::1]:8930",
        gate_listen="127.0.0.2:9000",
        gate_token=Secret(env="GATE"),
        tokens=(TokenEntry(name="ana", role="responder", secret=Secret(env="ANA")),),
        max_body="1KiB",  # type: ignore[arg-type] # as an operator writes it
    )
    settings = WebSettings.from_config(section, lambda secret: f"secret-of-{secret.env}-0123456789")
    assert settings == WebSettings(
        listen=Listen("::1", 8930),
        gate_listen=Listen("127.0.0.2", 9000),
        gate_token="secret-of-GATE-0123456789",
        tokens=(AccessToken("ana", Role.RESPONDER, "secret-of-ANA-0123456789"),),
        max_body_bytes=1024,
    )
    assert "secret-of" not in repr(settings)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("a.localhost", True), ("0.0.0.0", False), ("", False)],
)
def test_loopback_hosts(host: str, loopback: bool) -> None:
    assert is_loopback_host(host) is loopback
