"""The page in a real browser: Debian's Chromium, driven by selenium."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from monitor import metrics
from monitor.vocabulary import ReviewDecision
from monitor.web import keys
from monitor.web.port import ReviewView
from monitor.web.server import WebServer
from tests.fakes.web_daemon import NOON, FakeDaemon, incident, stream

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="chromium and chromium-driver are not installed"),
    pytest.mark.timeout(180),
]

WAIT_S = 15

_Value = TypeVar("_Value")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = Options()
    assert CHROMIUM is not None
    assert DRIVER is not None
    options.binary_location = CHROMIUM
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--window-size=1280,900",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(WAIT_S)
    yield driver
    driver.quit()


def until(driver: webdriver.Chrome, condition: Callable[[webdriver.Chrome], _Value]) -> _Value:
    return WebDriverWait(driver, WAIT_S, poll_frequency=0.1).until(condition)


def focused(driver: webdriver.Chrome) -> WebElement:
    return driver.switch_to.active_element


def tab_to(driver: webdriver.Chrome, css: str) -> None:
    """Press Tab until the element has the focus, as somebody without a mouse would."""
    target = driver.find_element(By.CSS_SELECTOR, css)
    for _ in range(30):
        focused(driver).send_keys(Keys.TAB)
        if focused(driver) == target:
            return
    pytest.fail(f"{css} cannot be reached by keyboard")


def complaints(driver: webdriver.Chrome, url: str) -> list[str]:
    """Return what the console says of this server's pages; the browser has seen other tests' too."""
    entries = driver.get_log("browser")  # type: ignore[no-untyped-call] # selenium leaves this one without types
    return [entry["message"] for entry in entries if entry["level"] == "SEVERE" and url in entry["message"]]


async def test_an_incident_appears_without_reload_and_is_dismissed_by_keyboard(
    open_web: WebServer, daemon: FakeDaemon, chromium: webdriver.Chrome
) -> None:
    daemon.stream_views = [stream(title="live/<script>window.pwned=1</script>")]

    def watch() -> None:
        chromium.get(open_web.url + "/")
        assert "Nothing waits for you" in chromium.page_source
        chromium.execute_script("window.notReloaded = true")

    await asyncio.to_thread(watch)
    daemon.open(incident(1, title="live/<img src=x onerror=window.pwned=1>"))

    def dismiss() -> None:
        link = until(chromium, lambda driver: driver.find_elements(By.ID, "incident-inc-0001"))
        assert link[0].text == "live/<img src=x onerror=window.pwned=1>"
        assert chromium.execute_script("return window.notReloaded") is True
        assert chromium.execute_script("return window.pwned") is None
        until(chromium, lambda driver: driver.title.startswith("(1) Live"))
        said = chromium.find_element(By.ID, "announce").get_attribute("textContent")
        assert "Needs a decision: live/<img" in (said or "")

        tab_to(chromium, "#incident-inc-0001")
        focused(chromium).send_keys(Keys.ENTER)
        until(chromium, lambda driver: driver.find_elements(By.ID, "why"))
        tab_to(chromium, "#why")
        focused(chromium).send_keys("A stage fight, <b>announced</b>.")
        tab_to(chromium, "button[value=dismiss]")
        focused(chromium).send_keys(Keys.ENTER)
        decided = until(chromium, lambda driver: driver.find_elements(By.ID, "decided"))
        assert "Dismissed by local" in decided[0].text
        assert "A stage fight, <b>announced</b>." in decided[0].text
        assert chromium.find_elements(By.ID, "why") == []

    await asyncio.to_thread(dismiss)
    review = daemon.details["inc-0001"].summary.review
    assert review is not None
    assert (review.decision, review.by) == (ReviewDecision.DISMISS, "local")
    assert await asyncio.to_thread(complaints, chromium, open_web.url) == []


async def test_a_decision_by_somebody_else_closes_the_form_and_keeps_what_was_typed(
    open_web: WebServer, daemon: FakeDaemon, chromium: webdriver.Chrome
) -> None:
    daemon.open(incident(1))

    def begin() -> None:
        chromium.get(open_web.url + "/incidents/inc-0001")
        until(chromium, lambda driver: driver.find_elements(By.ID, "why"))
        chromium.find_element(By.ID, "why").send_keys("half a sent")

    await asyncio.to_thread(begin)
    daemon.open(
        incident(1, reviewable=False, state="contain", review=ReviewView(ReviewDecision.CONFIRM, "ana", "!", NOON))
    )

    def see() -> None:
        until(chromium, lambda driver: driver.find_elements(By.ID, "decided"))
        why = chromium.find_element(By.ID, "why")
        assert not why.is_enabled()
        assert why.get_attribute("value") == "half a sent"

    await asyncio.to_thread(see)


async def test_the_focus_survives_a_refresh(
    open_web: WebServer, daemon: FakeDaemon, chromium: webdriver.Chrome
) -> None:
    daemon.open(incident(1))

    def focus() -> None:
        chromium.get(open_web.url + "/")
        tab_to(chromium, "#incident-inc-0001")

    await asyncio.to_thread(focus)
    daemon.open(incident(2))

    def see() -> None:
        until(chromium, lambda driver: driver.find_elements(By.ID, "incident-inc-0002"))
        assert focused(chromium).get_attribute("id") == "incident-inc-0001"

    await asyncio.to_thread(see)


async def test_signing_in_and_following_a_link_while_signed_in(
    token_web: WebServer, daemon: FakeDaemon, chromium: webdriver.Chrome
) -> None:
    daemon.open(incident(1))

    def sign_in() -> None:
        chromium.get(token_web.url + "/incidents/inc-0001")
        assert "/login?next=/incidents/inc-0001" in chromium.current_url
        chromium.find_element(By.ID, "token").send_keys("responder-token-0123456789" + Keys.ENTER)
        until(chromium, lambda driver: driver.current_url.endswith("/incidents/inc-0001"))
        until(chromium, lambda driver: driver.find_elements(By.ID, "why"))
        # As after a link from a chat: the strict cookie did not travel, the form is shown, and the script goes on.
        chromium.get(token_web.url + "/login?next=/blocks")
        until(chromium, lambda driver: driver.current_url.endswith("/blocks"))
        chromium.find_element(By.CSS_SELECTOR, "header button").click()
        until(chromium, lambda driver: driver.current_url.endswith("/login"))
        chromium.get(token_web.url + "/")
        assert "/login" in chromium.current_url

    await asyncio.to_thread(sign_in)


async def test_the_status_page_draws_what_was_measured_under_its_strict_policy(
    open_web: WebServer, daemon: FakeDaemon, chromium: webdriver.Chrome
) -> None:
    metrics.initialise()
    history = open_web._app[keys.HISTORY]
    for fresh in (3, 5, 4, 2):
        metrics.STREAMS.labels("fresh").set(fresh)
        metrics.STREAMS.labels("blind").set(1)
        await history.look()

    def see() -> None:
        chromium.get(open_web.url + "/status")
        chromium.execute_script("window.notReloaded = true")
        # In one go: the script may swap in a newer page at any moment.
        box, frame, colours, bad = chromium.execute_script(
            """
            const lines = [...document.querySelector("figure").querySelectorAll("polyline")];
            const [line] = lines;
            return [
              line.getBoundingClientRect().toJSON(),
              line.parentNode.getBoundingClientRect().toJSON(),
              lines.map((one) => getComputedStyle(one).stroke),
              [...document.querySelectorAll(".tile.bad")].map((tile) => tile.innerText),
            ];
            """
        )
        assert box["width"] > 3
        assert box["height"] > 10
        assert frame["top"] - 2 <= box["top"] <= box["bottom"] <= frame["bottom"] + 2
        assert len(set(colours)) == len(colours) > 1
        (blind,) = [tile.split() for tile in bad if tile.startswith("blind")]
        assert blind[-1] == "1"

    await asyncio.to_thread(see)
    metrics.STREAMS.labels("blind").set(0)
    history._rendered_at_s = None
    daemon.notify()

    def see_news() -> None:
        calm = "return ![...document.querySelectorAll('.tile.bad dt')].some((title) => title.innerText === 'blind')"
        until(chromium, lambda driver: driver.execute_script(calm))
        assert chromium.execute_script("return window.notReloaded") is True

    await asyncio.to_thread(see_news)
    assert await asyncio.to_thread(complaints, chromium, open_web.url) == []


async def test_nothing_sticks_out_on_a_telephone(
    open_web: WebServer, daemon: FakeDaemon, chromium: webdriver.Chrome
) -> None:
    daemon.stream_views = [stream(title="live/" + "x" * 190, incident_id="inc-0001")]
    daemon.open(incident(1, title="live/" + "x" * 190))

    def measure() -> None:
        chromium.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 700, "deviceScaleFactor": 1, "mobile": True}
        )
        try:
            for path in ("/", "/incidents/inc-0001", "/blocks", "/status"):
                chromium.get(open_web.url + path)
                assert chromium.execute_script("return document.documentElement.scrollWidth") <= 360, path
        finally:
            chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    await asyncio.to_thread(measure)
