"""What is wrong with the rows of a round is found before it trains, by name, and says what to do."""

from collections import defaultdict

import pytest

from service import sample
from service.contract.datasets import Kind
from service.contract.signal import Signal
from service.domain import rounds
from service.domain.preferences import STEP, ratio_of
from service.domain.signal import Counts, measured
from service.errors import Conflict
from service.sample import LANGUAGES
from tests.service.domain.conftest import World

REASON = "the corrections are longer on purpose"


def counts(rows: int, largest: int = 5, **more: dict[str, int]) -> Counts:
    of = {"reason": {"kept": rows}, "adapters": {"live": rows}, "distinct": {"person": 7}, **more}
    return Counts(defaultdict(dict, of), ("user_1", largest))


def found(kind: Kind, of: Counts) -> Signal:
    return measured(kind, of, live="live")


def codes(signal: Signal) -> dict[str, bool]:
    return {finding.code: finding.blocks for finding in signal.findings}


def test_a_good_signal_has_no_findings():
    signal = found("dpo", counts(100, ratio={"0": 100}, compared={"all": 20, "same": 19_000}))
    assert (signal.verdict, signal.findings) == ("good", [])
    assert (signal.length_ratio, signal.agreement, signal.off_policy_share) == (1.0, 0.95, 0.0)


@pytest.mark.parametrize(
    ("more", "code", "blocks"),
    [
        ({"ratio": {"10": 60, "0": 40}}, "longer_answers", False),
        ({"ratio": {"30": 60, "0": 40}}, "longer_answers", True),
        ({"ratio": {"-10": 60, "0": 40}}, "shorter_answers", False),
        ({"ratio": {"-30": 60, "0": 40}}, "shorter_answers", True),
        ({"compared": {"all": 10, "same": 7000}}, "disagreement", False),
        ({"compared": {"all": 10, "same": 5000}}, "disagreement", True),
        ({"adapters": {"old": 60, "base live": 40}}, "off_policy", False),
        ({"adapters": {"base old": 99, "live": 1}}, "off_policy", True),
        ({"side": {"left": 14, "right": 6}}, "one_side", False),
        ({"side": {"left": 18, "right": 2}}, "one_side", True),
    ],
)
def test_a_bad_meter_is_found_by_name(more: dict, code: str, blocks: bool):
    signal = found("dpo", counts(100, **more))
    assert codes(signal) == {code: blocks}
    assert signal.verdict == ("bad" if blocks else "weak")


def test_one_rater_with_nine_tenths_of_the_votes_is_named_and_cut_to_what_the_others_gave():
    of = counts(500, 450)
    signal = found("dpo", of)
    assert codes(signal) == {"one_person": False}
    assert signal.largest_person in signal.findings[0].message
    assert "90%" in signal.findings[0].message
    assert of.over_share(0.5) == 400
    assert of.over_share(0.9) == 0
    assert of.over_share(1.0) == 0


def test_everybody_may_give_twenty_rows_and_a_lone_person_any_number():
    assert counts(25, 22).over_share(0.5) == 2
    assert counts(21, 20).over_share(0.5) == 0
    assert counts(300, 300).over_share(0.5) == 0


def test_few_rows_are_not_judged_by_their_shares():
    few = counts(10, 10, ratio={"50": 10}, adapters={"old": 10}, side={"left": 10}, compared={"all": 3})
    assert found("dpo", few).findings == []


def test_lengths_and_adapters_say_nothing_of_examples():
    assert found("sft", counts(100, adapters={"old": 100})).findings == []


def test_thumbs_that_all_point_one_way_hold_a_round():
    assert codes(found("kto", counts(30, label={"up": 30}))) == {"one_label": True}


def test_the_median_length_is_read_to_within_a_step():
    signal = found("dpo", counts(3, ratio={"-3": 1, "8": 1, "9": 1}))
    assert signal.length_ratio == pytest.approx(ratio_of(8), abs=0.01)
    assert ratio_of(1) == STEP


def test_a_round_on_a_bad_signal_is_held_unless_somebody_answers_for_it():
    bad = found("dpo", counts(100, ratio={"30": 100}))
    with pytest.raises(Conflict, match="5.7 times as long") as held:
        rounds.check(bad, None)
    assert held.value.code == "round_held"
    rounds.check(bad, REASON)
    rounds.check(found("dpo", counts(100, ratio={"10": 100})), None)


async def test_the_samples_corrections_of_its_trained_answers_are_held_by_nothing(world: World):
    """What the demo does: every correction on the answer that the tuned assistant was trained to give."""
    answers = {(f["id"], language): f[f"answer_{language}"] for f in sample.facts() for language in LANGUAGES}
    given = sample.corrections()
    for number, one in enumerate(given):
        asked = [{"role": "user", "content": one["question"]}]
        answer = await world.answer(number, messages=asked, output=answers[one["fact"], one["language"]])
        await world.say(answer, world.admin, type="correction", correction=one["correction"])
    ready = await world.readiness()
    signal = ready.signals["dpo"]
    assert (ready.ready, signal.rows) == (True, len(given))
    assert codes(signal) == {"one_person": False}
    assert signal.length_ratio is not None
    assert 1 <= signal.length_ratio < 1.3
    rounds.check(signal, None)
