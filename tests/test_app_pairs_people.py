"""What people did and said, as pairs: live talks with marks, a study's ratings and preferences."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from app.live import events
from app.live.folder import LiveTalk, TalkFolder
from app.pairs_live import modelled_at
from app.pairs_people import read_people
from app.study.config import Study
from builders import ROOT, spoken, talk
from commands import duologue
from eval.pairs.choices import Choice, build_choices, read_choices
from eval.pairs.chosen import Parts
from eval.pairs.dataset import Dataset
from eval.pairs.faults import timing_flags
from eval.pairs.marks import marked_events
from eval.pairs.settings import PairSettings
from eval.pairs.source import Name
from eval.pairs.synthetic import LAYOUT, SyntheticTalks
from eval.pairs.talks import Mark, RawTalk, replies_of, scene_of
from protocols.base import to_json
from protocols.encoding import to_pcm16
from protocols.errors import InputError, StoreError
from protocols.records import Rating

pytest.importorskip("pyarrow", reason="pip install 'duologue[pairs]'")

QUESTION, SPEECH = spoken("q01.flac")
REPLY, REPLY_SPEECH = spoken("q01.reply.flac")
SETTINGS = PairSettings()
SKIPPED, LAG = 0.5, 0.25  # seconds between the page's clock and the system's


def hold(root: Path, name: str, delay: float, marks: dict[str, float], outcome: str = "done") -> None:
    """A live talk with q01 and a reply so long after it, written as the recorder writes; marks by when on the system's
    clock the thing happened that they are about."""
    folder = TalkFolder(root / name, LiveTalk(name, "tiny:x", "1", 0, "2026-01-01T00:00:00Z", 24_000))
    answered = SPEECH.end + delay
    both = np.zeros((2, round((answered + 6) * 24_000)), np.float32)
    both[1, : len(QUESTION)] = QUESTION
    at = round((answered - REPLY_SPEECH.start) * 24_000)
    both[0, at : at + len(REPLY)] = REPLY
    folder.modelled(*(to_pcm16(side) for side in both))
    folder.heard(*(to_pcm16(side) for side in np.pad(both, ((0, 0), (round(SKIPPED * 24_000), 0)))))
    folder.log(events.Skipped(0, round(SKIPPED * 24_000), "before the frames begin"))
    folder.log(events.Lag(0, LAG * 1e3))
    for n, word in enumerate((" That", " is", " it.")):
        folder.log(events.Text(round(answered / 0.08) + 4 * n, word))
    for kind, moment in marks.items():
        folder.log(events.Marked(round((moment + SKIPPED + LAG) * 24_000), kind))
    talk = LiveTalk(name, "tiny:x", "1", 0, "2026-01-01T00:00:00Z", 24_000, status=outcome)  # type: ignore[arg-type]
    folder.finish(talk, [])


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A late answer that is marked as such and as wrong, one in time that is called slow, a good one, a void one."""
    root = tmp_path_factory.mktemp("study") / "talks"
    late = SPEECH.end + 2.6
    hold(root, "late", 2.4, {"too-slow": late, "wrong": late + 0.2})
    hold(root, "soon", 0.5, {"too-slow": SPEECH.end + 0.9})
    hold(root, "good", 0.6, {"nice": SPEECH.end + 1.0})
    hold(root, "void", 0.8, {}, "voided")
    return root


def test_live_talks_with_marks_become_pairs_and_agreement(talks: Path, tmp_path: Path) -> None:
    ratings = [Rating("1", "ann", "s", ("late",), "relevance", 1), Rating("2", "ben", "s", ("soon",), "relevance", 4)]
    (tmp_path / "r.jsonl").write_bytes(b"\n".join(map(to_json, ratings)))
    done = json.loads(duologue("pairs", "build", talks, "--ratings", tmp_path / "r.jsonl", "--out", tmp_path / "d",
                               "--json").stdout)  # fmt: skip
    assert done["excluded"] == {"no_fault": 2, "no_reply_known": 1, "void": 1}  # nobody is there to rewrite "late"
    (timing,) = done["agreement"]
    assert (timing["axis"], timing["judge"], timing["turns"], timing["talks"]) == ("unresponsiveness", "timing/1", 2, 2)
    marked = {row.talk: row for row in Dataset(tmp_path / "d").marked()}
    late, soon = marked["talks/late"], marked["talks/soon"]
    assert (late.rater, late.person, late.critic) == ("ann", True, True)
    assert (soon.rater, soon.person, soon.critic) == ("ben", True, False)  # a person calls slow what the rule does not
    (left,) = [e for e in Dataset(tmp_path / "d").exclusions() if e.reason == "no_reply_known"]
    assert left.detail.startswith("mixed")  # late by program, wrong by a person


def test_a_mark_is_moved_from_where_it_was_heard_to_where_it_was_said() -> None:
    held = LiveTalk("x", "s", "1", 0, "", 48_000, lag_p50=0.1)
    log = [events.Skipped(0, 4_800, "a"), events.Skipped(96_000, 48_000, "away"), events.Lag(72_000, 300.0)]
    assert modelled_at(48_000, held, log) == pytest.approx(1.0 - 0.1 - 0.1)
    assert modelled_at(192_000, held, log) == pytest.approx(4.0 - 1.1 - 0.3)
    assert modelled_at(120_000, held, log) == pytest.approx(2.5 - 0.1 - 0.5 - 0.3)  # in the middle of what was skipped


def test_marks_of_timing_are_about_the_users_last_act_and_flag_nothing() -> None:
    heard = talk("agent: Rome[5-6] | user: [1-2] [8-9] | turn: [1-2] [8-9]", duration=14)
    marks = tuple(Mark("y", at, "unresponsiveness", "ann") for at in (5.2, 11.0))
    raw = RawTalk("y", heard, marks=(*marks, Mark("y", 6.5, "interruption", "ben", False)))
    scene = scene_of(raw, SETTINGS)
    replies = replies_of(raw, scene)
    flags = timing_flags(scene, replies, SETTINGS)
    assert [f.fault for f in flags] == ["late", "silent"]
    rows = marked_events(raw, scene, flags)
    assert [(r.rater, r.axis, r.turn, r.person, r.critic) for r in rows] == [
        ("ann", "unresponsiveness", 0, True, True), ("ann", "unresponsiveness", 1, True, True),
        ("ben", "interruption", 0, False, False), ("ben", "interruption", 1, False, False),
    ]  # fmt: skip


def test_an_export_says_which_levels_its_questions_have(tmp_path: Path) -> None:
    """2 of 1 to 5 is 1 of 0 to 4; an answer about timing is on the axis of timing; what is no level counts nothing."""
    told = yaml.safe_load((ROOT / "app" / "study" / "example.yaml").read_text())
    study = Study.model_validate({**told, "scales": ["paper", "duplex"]}, strict=False)
    (tmp_path / "study.json").write_text(json.dumps({"study": study.model_dump(mode="json")}))
    rows = [Rating("1", "ann", "s", ("x",), "voice", 2), Rating("2", "ann", "s", ("x",), "relevance", 2),
            Rating("3", "ann", "s", ("x",), "responsiveness", 1), Rating("4", "ann", "s", ("x",), "voice", 0),
            Rating("5", "ann", "s", ("x",), "unknown", 3)]  # fmt: skip
    (tmp_path / "ratings.jsonl").write_bytes(b"\n".join(map(to_json, rows)))
    people = read_people(tmp_path, SETTINGS)
    assert [(m.axis, m.problematic, m.score) for m in people.marks["x"]] == [
        ("voice", True, 1), ("relevance", False, 2), ("unresponsiveness", True, 0),
    ]  # fmt: skip
    assert people.raters == {"x": "ann"}
    (tmp_path / "study.json").write_text('{"study": 3}')
    with pytest.raises(InputError, match="is not a study as it is exported"):
        read_people(tmp_path, SETTINGS)


class Takes:
    """Three takes of one talk: the agent goes on differently at column 60, and in one the user at 20."""

    source = "takes"

    def __init__(self) -> None:
        raw = SyntheticTalks(4, 9).talk(0)[0]
        assert raw.tokens is not None
        self.talks = {name: raw._replace(id=f"run/{name}", tokens=raw.tokens.copy()) for name in ("a", "b", "c")}
        self.talks["b"].tokens[1:9, 60:80] = 5  # type: ignore[index]
        self.talks["c"].tokens[9:17, 20:80] = 5  # type: ignore[index]

    def names(self) -> list[Name]:
        return [Name(f"run/{name}", name) for name in self.talks]

    def read(self, name: Name) -> RawTalk:
        return self.talks[name.key]


def test_a_studys_preferences_are_choices_and_talks_without_one_past_are_no_pair(tmp_path: Path) -> None:
    rows = [Rating("1", "ann", "s", ("a", "b"), "preference", "second"), Rating("2", "ann", "s", ("a",), "voice", 3),
            Rating("3", "ben", "s", ("a", "b"), "preference", "tie"),
            Rating("4", "cas", "s", ("a", "c"), "preference", "first"),
            Rating("5", "dan", "s", ("a", "b"), "preference", "first"),
            Rating("6", "dan", "s", ("b", "a"), "preference", "first", amends="5")]  # fmt: skip
    path = tmp_path / "ratings.jsonl"
    path.write_bytes(b"\n".join(map(to_json, rows)))
    choices = read_choices(path)
    assert [(c.preferred, c.rater) for c in choices] == [("b", "ann"), ("tie", "ben"), ("a", "cas"), ("a", "dan")]
    info = build_choices(choices, Takes(), tmp_path / "d", Parts(LAYOUT), SETTINGS)  # type: ignore[arg-type]
    assert (info.pairs, info.excluded) == (2, {"no_shared_past": 1, "tie": 1})
    assert {p.judges for p in Dataset(tmp_path / "d").pairs()} == {("rater:ann",), ("rater:dan",)}
    for pair in Dataset(tmp_path / "d").token_pairs():
        assert pair.context.shape[1] == 60
        assert (pair.chosen[1:9, :20] == 5).all()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('{"a": "x", "b": "y", "preferred": "c", "rater": "r"}', "line 1 is not a choice"),
        ('{"record": "rating/9"}', "line 1 is not a choice"),
        ("", "holds no choice"),
    ],
)
def test_choices_that_are_none_are_an_error_with_their_line(tmp_path: Path, lines: str, says: str) -> None:
    (tmp_path / "c.jsonl").write_text(lines)
    with pytest.raises((StoreError, InputError), match=says):
        read_choices(tmp_path / "c.jsonl")
    with pytest.raises(StoreError, match="cannot read"):
        read_choices(tmp_path / "none.jsonl")
    assert Choice("a", "b", "tie", "r").preferred == "tie"
