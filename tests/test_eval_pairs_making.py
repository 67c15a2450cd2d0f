"""What makes a pair: faults are found where they were planted, and only the reply changes, not the past."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from builders import talk
from eval.pairs.branch import time_of
from eval.pairs.chosen import AFTER, Parts
from eval.pairs.content import content_flags, judged
from eval.pairs.faults import timing_flags
from eval.pairs.making import TalkPairs, continued, pairs_of
from eval.pairs.marks import marks_of_ratings
from eval.pairs.rows import rows_of
from eval.pairs.settings import PairSettings
from eval.pairs.sites import sites_of
from eval.pairs.synthetic import LAYOUT, Planted, SyntheticTalks, SyntheticTruth, Topic
from eval.pairs.talks import Mark, RawTalk, replies_of, scene_of
from protocols.contracts import Line, Verdict
from protocols.errors import InputError
from protocols.records import Rating
from protocols.timeline import Span

TRUTH = SyntheticTruth()
PARTS = Parts(LAYOUT, TRUTH, ("factuality",), TRUTH, TRUTH, TRUTH)
BY_PROGRAM = Parts(LAYOUT)
SETTINGS = PairSettings()
TALKS = SyntheticTalks(10_000, seed=7)


def made(number: int, parts: Parts = PARTS, settings: PairSettings = SETTINGS) -> tuple[RawTalk, TalkPairs]:
    raw, _ = TALKS.talk(number)
    return raw, pairs_of(raw, parts, settings)


def found_in(raw: RawTalk, pairs: TalkPairs) -> set[tuple[str | None, float]]:
    events = raw.heard.talk.events
    return {
        (f.fault, round(f.reply.span.start if f.event is None and f.reply else events[f.event or 0].start, 3))
        for f in pairs.flags
    }


def named(planted: tuple[Planted, ...]) -> set[tuple[str | None, float]]:
    return {(p.fault, round(p.start, 3)) for p in planted}


def test_every_kind_of_planted_fault_is_found_and_nothing_else() -> None:
    """Recall and precision of each timing fault at least 0.95, of content by the truth at least 0.9."""
    right, missed, false = Counter[str | None](), Counter[str | None](), Counter[str | None]()
    for number in range(150):
        raw, planted = TALKS.talk(number)
        found, wanted = found_in(raw, pairs_of(raw, PARTS, SETTINGS)), named(planted)
        right.update(kind for kind, _ in found & wanted)
        missed.update(kind for kind, _ in wanted - found)
        false.update(kind for kind, _ in found - wanted)
    assert set(right) == {None, "cuts_in", "talks_over", "late", "silent", "does_not_yield", "stops_for_backchannel"}
    for kind, n in right.items():
        least = 0.9 if kind is None else 0.95
        assert n / (n + missed[kind]) >= least, kind
        assert n / (n + false[kind]) >= least, kind


def test_every_flag_and_every_pair_shows_where() -> None:
    """Spans inside the talk: of the user's act it is about, and of the reply where there is one."""
    seen = set[str | None]()
    for number in range(40):
        raw, pairs = made(number)
        for flag in pairs.flags:
            seen.add(flag.fault)
            assert all(0 <= e.start <= e.end <= raw.heard.duration and e.source for e in flag.evidence)
            if flag.event is not None:
                event = raw.heard.talk.events[flag.event]
                assert any(e.channel == "user" and e.start < event.end and e.end > event.start for e in flag.evidence)
            if flag.reply is not None:
                reply = flag.reply.span
                assert any(e.channel == "agent" and e.start <= reply.end and e.end >= reply.start
                           for e in flag.evidence)  # fmt: skip
            assert flag.event is not None or flag.reply is not None
        if pairs.pairs:
            assert all(row.evidence for row in rows_of(raw, pairs, PARTS, SETTINGS).pairs)
    assert len(seen) == 7  # six of timing, and content


def test_flags_move_with_their_thresholds() -> None:
    raw, planted = TALKS.talk(next(n for n in range(100) if any(p.fault == "late" for p in TALKS.talk(n)[1])))
    scene = scene_of(raw, SETTINGS)
    flags = timing_flags(scene, replies_of(raw, scene), SETTINGS._replace(late_after=2.95))
    assert any(p.fault == "late" for p in planted)
    assert not any(flag.fault == "late" for flag in flags)


@given(number=st.integers(0, 9_999), window=st.sampled_from([None, 12.0, 30.0]))
def test_context_is_the_talk_bit_for_bit_and_the_sides_part_at_once(number: int, window: float | None) -> None:
    raw, pairs = made(number, PARTS, SETTINGS._replace(window=window))
    assert raw.tokens is not None
    for pair in pairs.pairs:
        chosen, rejected = pair.chosen.columns, pair.rejected.columns
        assert chosen is not None
        assert rejected is not None
        n = rejected.shape[1]
        np.testing.assert_array_equal(rejected, raw.tokens[:, pair.column : pair.column + n])  # what the model did
        assert (chosen[:, 0] != rejected[:, 0]).any()
        assert pairs.window_start < pair.column
        if window is not None:
            assert pair.column + max(n, chosen.shape[1]) - pairs.window_start <= window / LAYOUT.frame


@given(number=st.integers(0, 9_999))
def test_the_chosen_side_has_no_fault_of_the_flagged_kind(number: int) -> None:
    raw, pairs = made(number)
    for pair in pairs.pairs:
        heard = continued(raw, pair.chosen, PARTS)
        again = RawTalk(raw.id, heard)
        scene = scene_of(again, SETTINGS)
        flags = timing_flags(scene, replies_of(again, scene), SETTINGS, PARTS.unfinished)
        bad = {(f.fault, f.event) for f in pair.proposal.site.flags if f.fault is not None}
        assert not bad & {(f.fault, f.event) for f in flags}
        if pair.proposal.site.content:
            turns = [r for r in replies_of(again, scene) if r.span.start >= pair.chosen.spans[0].start - 0.1]
            verdicts = judged(again, replies_of(again, scene), TRUTH, ("factuality",)).verdicts
            assert turns
            assert not content_flags(verdicts, turns, TRUTH.source, SETTINGS)


class Sour(SyntheticTruth):
    """A critic whom nothing pleases."""

    def judge(self, talk: Sequence[Line], axis: str) -> list[Verdict]:
        return [v._replace(score=0, problematic=True) for v in super().judge(talk, axis)]


def test_a_chosen_reply_that_is_flagged_as_well_makes_no_pair() -> None:
    parts, reasons = PARTS._replace(critic=Sour()), Counter[str]()
    for number in range(30):
        pairs = made(number, parts)[1]
        assert not any(pair.proposal.site.content for pair in pairs.pairs)
        reasons.update(e.reason for e in pairs.exclusions)
    assert reasons["chosen_faulty"] > 20


@given(number=st.integers(0, 9_999))
def test_a_moved_reply_keeps_its_tokens_and_the_user_falls_silent(number: int) -> None:
    raw, pairs = made(number, BY_PROGRAM)
    assert raw.tokens is not None
    for pair in pairs.pairs:
        columns = pair.chosen.columns
        assert columns is not None
        text = columns[LAYOUT.text]
        words = text[(text != LAYOUT.pad) & (text != 0)].tolist()
        assert "".join(map(chr, words)) in "".join(
            map(chr, raw.tokens[LAYOUT.text][raw.tokens[LAYOUT.text] > 3].tolist())
        )
        until = pair.chosen.user_until
        assert until is not None
        quiet = round(until / LAYOUT.frame) - LAYOUT.user_lag - pair.column
        assert not columns[LAYOUT.user, max(quiet, 0) :].any()


def test_words_stand_where_their_tokens_are() -> None:
    """Half a frame at most between a chosen word's time and the column that says it."""
    for number in range(40):
        for pair in made(number)[1].pairs:
            assert pair.chosen.columns is not None
            text = pair.chosen.columns[LAYOUT.text]
            at = [time_of(pair.column + int(c), LAYOUT) for c in np.flatnonzero(text > 3)]
            np.testing.assert_allclose(at, [w.start for w in pair.chosen.words], atol=0.04)


def test_better_words_take_the_place_of_the_worse_ones_wherever_their_sound_is_heard() -> None:
    """Heard onsets lie a frame or two behind the text; a pair about words must not be one about time as well."""
    n = 0
    for number in range(60):
        for pair in pairs_of(heard_late(TALKS.talk(number)[0], 0.12), PARTS, SETTINGS).pairs:
            if pair.proposal.site.kind == "content":
                assert pair.chosen.columns is not None
                assert pair.rejected.columns is not None
                sides = (pair.chosen.columns[LAYOUT.text], pair.rejected.columns[LAYOUT.text])
                first = [np.flatnonzero(text > 3)[0] for text in sides]
                assert first == [0, 0]
                n += 1
    assert n > 10


def test_a_chosen_reply_comes_to_its_end() -> None:
    """Where only the rejected side is silent after its reply, what is preferred is to talk on."""
    for number in range(40):
        for pair in made(number)[1].pairs:
            if pair.proposal.site.timing in ("does_not_yield", "talks_over") and not pair.proposal.site.content:
                continue  # there silence is preferred
            assert pair.chosen.columns is not None
            text = pair.chosen.columns[LAYOUT.text]
            after = len(text) - 1 - np.flatnonzero(text > 3)[-1]
            assert after * LAYOUT.frame >= AFTER


def heard_late(raw: RawTalk, by: float) -> RawTalk:
    """The talk, its agent heard from a little later on."""
    listening = raw.heard.listening
    spans = {a.channel: a for a in listening.activity}
    agent = tuple(Span(s.start + by, s.end) for s in spans["agent"].spans)
    activity = (replace(spans["agent"], spans=agent), spans["user"])
    return raw._replace(heard=raw.heard._replace(listening=replace(listening, activity=activity)))


def test_the_first_flagged_reply_and_one_more_make_pairs() -> None:
    raw, pairs = next((raw, p) for raw, p in map(made, range(100)) if len({(f.event, f.reply) for f in p.flags}) > 3)
    assert [p.rank for p in pairs.pairs] == [0, 1]
    assert pairs.pairs[0].column < pairs.pairs[1].column
    assert len(pairs_of(raw, PARTS, SETTINGS._replace(per_talk=1)).pairs) == 1
    assert len(pairs_of(raw, PARTS, SETTINGS._replace(per_talk=9)).pairs) > 2


def test_only_the_first_flagged_reply_makes_a_pair_with_a_unique_context() -> None:
    """Where it makes none, no later one takes its rank: its context would hold a bad reply."""
    ranks = Counter[tuple[int, ...]]()
    for number in range(60):
        raw, pairs = made(number, BY_PROGRAM)
        first = sites_of(pairs.flags, scene_of(raw, SETTINGS))[0].at if pairs.flags else None
        assert all((p.rank == 0) == (p.proposal.site.at == first) for p in pairs.pairs)
        alone = pairs_of(raw, BY_PROGRAM, SETTINGS._replace(per_talk=1)).pairs
        assert [p.proposal.site.at for p in alone] == [p.proposal.site.at for p in pairs.pairs if p.rank == 0]
        ranks[tuple(p.rank for p in pairs.pairs)] += 1
    assert set(ranks) == {(), (0,), (1,), (0, 1)}


def test_by_program_alone_no_reply_is_invented() -> None:
    """Without writer and voice a silence makes no pair, and the talk says why; moved replies are the agent's own."""
    reasons: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for number in range(60):
        pairs = made(number, BY_PROGRAM)[1]
        reasons.update(e.reason for e in pairs.exclusions)
        kinds.update(p.proposal.site.timing or "content" for p in pairs.pairs)
        assert all(p.proposal.writer is None and p.proposal.voice is None for p in pairs.pairs)
    assert reasons["no_reply_known"] > 10
    assert kinds["cuts_in"] > 5
    assert kinds["late"] > 5
    assert not kinds["silent"]
    assert not kinds["content"]


def test_a_mark_of_a_person_is_a_content_flag() -> None:
    raw, _ = TALKS.talk(next(n for n in range(50) if not TALKS.talk(n)[1]))
    reply = replies_of(raw, scene_of(raw, SETTINGS))[0]
    marked = raw._replace(marks=(Mark(raw.id, reply.span.start + 0.3, "tone", "r1", True, 1),))
    (pair,) = pairs_of(marked, PARTS, SETTINGS).pairs
    assert pair.proposal.site.kind == "content"
    assert [f.source for f in pair.proposal.site.flags] == ["rater:r1"]


def test_a_rating_flags_the_only_reply_of_a_talk_and_never_one_of_several() -> None:
    rated = [Rating("1", "ann", "s", ("y",), "tone", 1), Rating("2", "bob", "s", ("y",), "tone", 4),
             Rating("3", "cas", "s", ("y",), "tone", 0), Rating("4", "cas", "s", ("y",), "tone", 3, amends="3"),
             Rating("5", "dan", "s", ("y",), "tone", None, reason="skipped")]  # fmt: skip
    marks = marks_of_ratings(rated, SETTINGS)["y"]
    assert [(m.rater, m.problematic) for m in marks] == [("ann", True), ("bob", False), ("cas", False)]
    once = talk("agent: Rome[2.4-3] | user: [1-2] | turn: [1-2]", duration=6)
    twice = talk("agent: Rome[2.4-3] well[5-6] | user: [1-2] [4-4.6] | turn: [1-2] [4-4.6]", duration=9)
    found = [pairs_of(RawTalk("y", heard, marks=marks), BY_PROGRAM, SETTINGS).flags for heard in (once, twice)]
    assert [[f.source for f in flags] for flags in found] == [["rater:ann"], []]


class Broken:
    source = "broken/1"

    def judge(self, talk: list[Line], axis: str) -> list[Verdict]:
        raise InputError("the judge gave no JSON twice")


def test_a_judgement_that_could_not_be_had_is_counted_and_timing_goes_on() -> None:
    parts = PARTS._replace(critic=Broken())  # type: ignore[arg-type]
    raw, _ = TALKS.talk(next(n for n in range(50) if TALKS.talk(n)[1] and TALKS.talk(n)[1][0].fault == "cuts_in"))
    pairs = pairs_of(raw, parts, SETTINGS)
    assert pairs.exclusions[0].reason == "unjudged"
    assert pairs.pairs


def test_a_fault_without_a_token_grid_still_makes_a_pair() -> None:
    """From words and spans alone: the late reply is moved to just after the user's end."""
    late = talk("agent: Rome[4-4.6] it[4.6-4.8] is[4.8-5.2] | user: [1-2] | turn: [1-2]", duration=9)
    (pair,) = pairs_of(RawTalk("y", late), BY_PROGRAM, SETTINGS).pairs
    assert pair.chosen.columns is None
    assert 2.4 <= pair.chosen.words[0].start < 2.48
    assert [w.text for w in pair.chosen.words] == ["Rome", "it", "is"]
    assert pair.rejected.words[0].start == pytest.approx(4)


def test_topics_of_another_world_are_judged_by_their_own_truth() -> None:
    topics = (Topic("which city is it", "Paris is the one.", "Rome is the one."),)
    truth = SyntheticTruth(topics)
    parts = Parts(LAYOUT, truth, ("factuality",), truth, truth, truth)
    talks = SyntheticTalks(40, 1, topics, wrong=1.0, weights=(1, 0, 0, 0, 0, 0, 0, 0, 0))
    pair = pairs_of(talks.talk(0)[0], parts, SETTINGS).pairs[0]
    assert " ".join(w.text for w in pair.chosen.words) == "Paris is the one."
    assert " ".join(w.text for w in pair.rejected.words) == "Rome is the one."
