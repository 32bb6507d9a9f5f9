from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.effects.decided import DecidedEffects
from monitor.effects.identity import Identifier, identity_key
from monitor.effects.strikelist import StrikeList
from monitor.effects.strikes import Offence, StrikeRules, Striking
from monitor.errors import ConfigError
from monitor.incidents.engine import IncidentEngine
from monitor.policies import Policies, Policy
from monitor.protocol.events import Reviewed, UserReported
from monitor.store import audit, blocks, strikes
from monitor.store.strikes import StrikeRecord
from monitor.vocabulary import Category, EffectKind, OffenceContext, PolicyTier, ReviewDecision, StreamRef
from tests.fakes.clock import ManualClock
from tests.fakes.incidents import ACT, Bench, TakenNotes, context
from tests.fakes.store import CAM1, flaky_store

DAY = 86_400.0
GRAVE = Policy("live-violence", "No violence", Category.VIOLENCE, PolicyTier.MOST_SERIOUS, labels=("violence",))
MILD = Policy("spam", "No spam", Category.FRAUD, PolicyTier.OTHER)
POLICIES = Policies((GRAVE, MILD))
RULES = StrikeRules(frozenset({PolicyTier.MOST_SERIOUS}), (30 * DAY, 90 * DAY), 365 * DAY, "server")
DISMISS = Reviewed(ReviewDecision.DISMISS, "eve", "a film")
KNOWN = Identifier(b"k" * 32, account_pattern=r"^live/(?P<account>[a-z]+)-")


def striking(*, rules: StrikeRules = RULES, policies: Policies = POLICIES) -> Striking:
    return Striking(rules, policies, KNOWN, lambda _ref: None)


def offence(at: float, ref: StreamRef = CAM1, context: OffenceContext = OffenceContext.NONE) -> Offence:
    return Offence(KNOWN.of(ref), ref.server, GRAVE, at, "ada", "a threat", context)


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Bench]:
    async with policed(tmp_path) as bench:
        yield bench


class policed:  # noqa: N801 - used as a function
    """A bench whose blocks under a grave policy are strikes."""

    def __init__(self, folder: Path, policies: Policies = POLICIES, clock: ManualClock | None = None) -> None:
        self._path, self._policies, self._clock = folder / "store.sqlite3", policies, clock or ManualClock()

    async def __aenter__(self) -> Bench:
        self._store = flaky_store(self._path)
        database = await self._store.__aenter__()
        notes = TakenNotes()
        decided = DecidedEffects(notes, 60.0, strikes=striking(policies=self._policies))
        engine = IncidentEngine(database, self._clock, decided, notes, self._policies)
        await engine.load()
        return Bench(self._path, database, self._clock, notes, engine)

    async def __aexit__(self, *error: object) -> None:
        await self._store.__aexit__(None, None, None)


async def test_an_automatic_block_under_a_grave_policy_is_a_strike_from_the_decision_on(on: Bench) -> None:
    decided_at = on.now
    await on.engine.handle(context("immediate"), ACT)
    (record,) = on.notes.strikes.values()
    assert (record.number, record.policy, record.origin, record.context) == (1, "live-violence", "live", "none")
    assert (record.decided_at, record.until, record.expires_at) == (
        decided_at,
        decided_at + 30 * DAY,
        decided_at + 365 * DAY,
    )
    assert on.engine.open_incidents()[0].record.policy == "live-violence"
    entries = await on.log()
    assert [entry.action for entry in entries] == ["strike_added", "transition"]
    assert entries[1].detail["policy"] == "live-violence"
    assert audit.first_broken(entries) is None


async def test_what_keeps_somebody_out_says_under_which_rule(on: Bench) -> None:
    await on.engine.handle(context("immediate"), ACT)
    async with on.database.reading() as connection:
        (block,) = await blocks.active(connection, at=on.now)
    assert block.why == "protocol immediate, under live-violence"


async def test_the_store_holds_no_name_of_a_strike_in_clear(on: Bench) -> None:
    await on.engine.handle(context("immediate", ref=StreamRef("edge", "live", "k3y-canary")), ACT)
    (record,) = on.notes.strikes.values()
    assert record.account_hash is None
    assert "canary" not in str(record)
    assert "canary" not in str(await on.log())


async def test_one_incident_is_one_strike_and_a_dismissal_takes_it_back(on: Bench) -> None:
    from monitor.protocol.events import StreamReturned

    await on.engine.handle(context("immediate"), ACT)
    await on.finish(EffectKind.CUT)
    await on.engine.handle(context("immediate", session="s2"), StreamReturned())
    assert len(on.notes.strikes) == 1
    await on.engine.review(on.engine.open_incidents()[0].record.id, DISMISS)
    (record,) = on.notes.strikes.values()
    assert record.lifted_at == on.now
    assert record.lifted_by == "protocol"
    assert [entry.action for entry in await on.log() if entry.action.startswith("strike")] == [
        "strike_added",
        "strike_lifted",
    ]


async def test_no_strike_in_a_dry_run_or_under_a_milder_policy(tmp_path: Path) -> None:
    async with policed(tmp_path) as on:
        await on.engine.handle(context("immediate", dry_run=True), ACT)
        assert on.notes.strikes == {}
    milder = Policies((Policy("brawl", "No brawls", Category.VIOLENCE, PolicyTier.SERIOUS),))
    async with policed(tmp_path / "other", milder) as on:
        await on.engine.handle(context("immediate"), ACT)
        assert on.notes.strikes == {}
        assert on.engine.open_incidents()[0].record.policy == "brawl"


async def test_strikes_survive_a_restart(tmp_path: Path) -> None:
    async with policed(tmp_path) as before:
        await before.engine.handle(context("immediate"), ACT)
    async with policed(tmp_path, clock=before.clock) as after:
        assert list(after.notes.strikes.values()) == list(before.notes.strikes.values())
        assert after.engine.open_incidents()[0].record.policy == "live-violence"
        await after.clock.advance(366 * DAY)
    async with policed(tmp_path, clock=before.clock) as later:
        assert later.notes.strikes == {}


async def test_a_report_brings_an_incident_under_the_policy_of_its_category(on: Bench) -> None:
    await on.engine.handle(context(), UserReported("fraud"))
    assert on.engine.open_incidents()[0].record.policy == "spam"
    await on.engine.handle(context(), ACT)
    assert on.engine.open_incidents()[0].record.policy == "live-violence"


class Ladder:
    """Strikes decided at these times, in memory and in the store alike."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.standing = StrikeList(self.clock, KNOWN)


def record(
    number: int, at: float, *, lifted: bool = False, scope: str = "server", ref: StreamRef = CAM1
) -> StrikeRecord:
    who = KNOWN.of(ref)
    return StrikeRecord(
        id=f"{ref.name}{number}{at}",
        server=ref.server,
        scope=scope,
        stream_id=ref.stream_id,
        stream_hash=who.stream,
        account_hash=who.account,
        address_hash=None,
        policy="live-violence",
        origin="live",
        context="none",
        number=number,
        decided_at=at,
        until=at + 30.0,
        expires_at=at + 365.0,
        incident_id=None,
        effect_id=None,
        by="ada",
        why="",
        lifted_at=at if lifted else None,
    )


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=12))
async def test_memory_bars_and_counts_what_stands(steps: list[tuple[int, bool]]) -> None:
    made = Ladder()
    known: list[StrikeRecord] = []
    for number, (after_s, lifted) in enumerate(steps, start=1):
        await made.clock.advance(after_s)
        now = made.clock.now().timestamp()
        one = record(number, now, lifted=lifted)
        made.standing.take([one])
        if not lifted:
            known.append(one)
        made.standing.forget_expired()
        stands = [other for other in known if other.expires_at > now]
        assert made.standing.count(CAM1) == len(stands) == len(made.standing)
        assert made.standing.is_barred(CAM1) == any(other.until > now for other in stands)
        assert made.standing.count(StreamRef("edge", "live", "other")) == 0


@given(st.lists(st.integers(0, 500), min_size=1, max_size=8), st.lists(st.integers(1, 400), min_size=1, max_size=4))
async def test_the_ladder_climbs_with_what_stands_and_no_further_than_its_end(
    gaps_d: list[int], ladder_d: list[int]
) -> None:
    rules = StrikeRules(RULES.tiers, tuple(days * DAY for days in ladder_d), 365 * DAY, "server")
    numbers, at = [], 0.0
    ends: list[float] = []
    for gap in gaps_d:
        at += gap * DAY
        number = 1 + sum(end > at for end in ends)
        bar_s = rules.bar_s(number)
        assert bar_s == ladder_d[min(number, len(ladder_d)) - 1] * DAY
        ends.append(at + max(bar_s, rules.remember_s))
        numbers.append(number)
    assert numbers[0] == 1


async def test_the_store_climbs_the_ladder_and_an_excused_offence_does_not(on: Bench) -> None:
    judge = striking()
    async with on.database.transaction() as connection:
        first = await judge.add(connection, offence(0.0), at=0.0)
        news = await judge.add(connection, offence(DAY, context=OffenceContext.NEWS), at=DAY)
        second = await judge.add(connection, offence(2 * DAY), at=2 * DAY)
        much_later = await judge.add(connection, offence(900 * DAY), at=900 * DAY)
        elsewhere = await judge.add(connection, offence(3 * DAY, StreamRef("other", "live", "cam1")), at=3 * DAY)
    assert [one.number for one in (first, news, second, much_later, elsewhere)] == [1, 0, 2, 1, 1]
    assert (news.until, second.until - second.decided_at) == (DAY, 90 * DAY)


async def test_accounts_are_found_again_under_other_names_and_everywhere_if_so_configured() -> None:
    made = Ladder()
    now = made.clock.now().timestamp()
    ann = StreamRef("edge", "live", "ann-monday")
    made.standing.take([record(1, now, ref=ann)])
    assert made.standing.is_barred(StreamRef("edge", "live", "ann-tuesday"))
    assert not made.standing.is_barred(StreamRef("other", "live", "ann-tuesday"))
    made.standing.take([record(1, now, ref=ann, scope="everywhere")])
    assert made.standing.is_barred(StreamRef("other", "live", "ann-tuesday"))


def test_addresses_count_only_where_asked_for_and_by_network_for_ipv6() -> None:
    asked = Identifier(b"k" * 32, addresses=True)
    same = asked.of(CAM1, "2001:db8::1").address, asked.of(CAM1, "2001:db8::ffff").address
    assert same[0] == same[1]
    assert same[0] is not None
    assert same[0] != asked.of(CAM1, "2001:db8:0:1::1").address
    assert asked.of(CAM1, "no address").address is None
    assert KNOWN.of(CAM1, "192.0.2.1").address is None


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "data" / "identity.key"
    key = identity_key(file)
    assert identity_key(file) == key
    assert file.stat().st_mode & 0o777 == 0o600
    assert Identifier(key).of(CAM1) != Identifier(b"x" * 32).of(CAM1)
    file.write_bytes(b"short")
    with pytest.raises(ConfigError):
        identity_key(file)


async def test_rows_of_strikes_come_back_and_are_lifted_once(on: Bench) -> None:
    judge = striking()
    async with on.database.transaction() as connection:
        made = await judge.add(connection, offence(10.0), at=10.0)
        assert await strikes.load(connection, made.id) == made
        (lifted,) = await judge.lift(connection, [made], at=20.0, by="eve", why="appeal")
        assert (lifted.lifted_at, lifted.lifted_by, lifted.lifted_why) == (20.0, "eve", "appeal")
        assert await judge.lift(connection, [lifted], at=30.0, by="kim", why="again") == []
        assert await strikes.all_standing(connection, at=20.0) == []
