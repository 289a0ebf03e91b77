"""Looks at a run before it is a job: rows and tokens, faults by name, the adapter's shape, the memory it may take.

Reads the tokenizer, the configuration and the heads of the weight files, never weights. Owns what is read whole, and
what is sampled. Knows no trainer: what only a batch or a model shows, `training.preflight`
sees.
"""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from service.contract import fingerprint, folder
from service.contract.blocklist import Blocklist
from service.contract.datasets import BadRow, PreferencePair, check_row, read_objects
from service.contract.estimates import Finding, Look, ShownRow, ShownSequence, ShownToken
from service.contract.fingerprint import base_sha256
from service.contract.jobs import TrainingSettings, TrainingSpec
from training import data, general_prompts, memory, reading_back, rendering, rows, start_adapter, tokenizer
from training.data import IGNORED, Chat, ExampleTokens, PairTokens, RatedTokens
from training.fitting import matched, unfit
from training.refusal import Refused
from training.rendering import Tokens
from training.rows import NamedRow, Rows

WHOLE = 8 * 1024 * 1024
"""Bytes of a file that is read whole. Of a larger training file, rows are taken at evenly spread places, as many bytes
at most."""
ROWS = 1000
"""Rows that are turned into tokens at most, evenly spread: some seconds."""
SHOWN = 3
"""Rows whose tokens are shown: the first, the middle one and the last."""
SHOWN_TOKENS = 400
"""Of a shown sequence; what lies in the middle of a longer one is left out."""
UNSEEN = ["padding_in_loss", "wrong_reference"]
LABELS = ["one_label", "no_mismatch"]
WITH_WHOLE_FILE = ["wrong_sha256", "held_out_in_training", "held_out_case", *LABELS]


def look(run: Path, spec: TrainingSpec) -> Look:
    """What can be seen of a run without weights; the prompts of a few rows are left in the folder.

    Raises `Refused` where nothing can be seen: no model, no file, no rows.
    """
    base = Path(spec.base_model)
    chat = tokenizer.load_chat(base)
    faults, of_held_out, of_start = _Faults(), _Faults(), _Faults()
    unseen, set_aside, aside = list(UNSEEN), 0, list[NamedRow]()
    if sampled := _is_large(run / folder.TRAIN):
        unseen += WITH_WHOLE_FILE
        found, count = _sample(run / folder.TRAIN, spec.kind)
    else:
        if large := _is_large(run / folder.VALIDATION):
            unseen.append("held_out_in_training")
        whole = rows.load(run, spec, held_out=not large)
        _look_for_held_out(run, spec, whole, faults)
        before = _learned_before(run, spec, unseen)
        repeats = rows.repeated(whole, before)
        set_aside, found, count = len(repeats), _spread(whole.train, ROWS), len(whole.train)
        aside = _spread([named for at, named in enumerate(whole.held_out) if at not in repeats], ROWS)
    fit = [named for named in found if unfit(chat, named, spec) is None] or found
    aside = [named for named in aside if unfit(chat, named, spec) is None]
    tokens = [token for named in fit if (token := _tokens(chat, named, spec, faults)) is not None]
    held_out = [token for named in aside if (token := _tokens(chat, named, spec, of_held_out)) is not None]
    if spec.kind == "kto" and not sampled and len(tokens) == count:
        rated = cast(list[RatedTokens], tokens)
        rest = matched(Rows(fit, []), rated, [], spec, lambda *_, **__: None)[1]
        faults.of(lambda: _look_for_both_labels(rest, spec.settings))
    elif spec.kind == "kto" and not sampled:
        unseen += LABELS
    rendering.write(run, chat, found, [one for one in tokens if one.length <= spec.settings.max_length])
    share = count / len(tokens) if tokens else 0.0
    longest = max((token.length for token in tokens), default=0)
    read = max([longest, *(token.length for token in held_out)])
    if spec.start_adapter is not None:
        start = Path(spec.start_adapter)
        of_start.of(lambda: start_adapter.check(start, spec))
    return Look(
        kind=spec.kind, rows=count, rows_looked_at=len(found), sampled=sampled,
        tokens=round(sum(token.read for token in tokens) * share),
        tokens_with_loss=round(sum(token.learned for token in tokens) * share), longest=longest,
        max_length=spec.settings.max_length, too_long=faults.count("row_too_long"), set_aside=set_aside,
        unfit=len(found) - len(fit), without_instructions=sum(not _instructs(named) for named in found),
        steps=math.ceil(count / spec.settings.batch_size) * spec.settings.n_epochs,
        replay_rows=len(general_prompts.replayed(spec.settings, count, _cases(run, spec))),
        replay_reads=general_prompts.reads(spec.settings, count),
        end_learned=bool(tokens) and not faults.any(
            "no_end_of_turn", "no_end_of_sequence", "pad_is_end_of_sequence", "end_of_turn_inside", "no_loss"
        ),
        trained_as_served=bool(tokens) and not faults.any("not_a_prefix", "wrong_template"),
        template_sha256=fingerprint.template_sha256(base), base_sha256=base_sha256(base),
        findings=[*faults.found, *of_held_out.found, *of_start.found], not_looked_at=unseen,
        shown=[_shown(chat, token) for token in _spread(tokens, SHOWN)], rank=spec.settings.lora_rank,
        shape=memory.shape(base, spec.settings.lora_rank),
        memory_bytes=memory.expected(base, spec.kind, spec.settings, read),
    )  # fmt: skip


def _instructs(named: NamedRow) -> bool:
    return any(message.role in ("system", "developer") for message in rows.prompt_messages(named.row))


def _learned_before(run: Path, spec: TrainingSpec, unseen: list[str]) -> Iterable[list[str]]:
    """What was asked earlier, of files that are small enough together to be read whole; else that is not seen."""
    files = [run / folder.LEARNED.format(number=number) for number in range(len(spec.learned))]
    if sum(file.stat().st_size for file in files if file.is_file()) > WHOLE:
        unseen.append("held_out_in_training")
        return ()
    return rows.learned_before(run, spec)


def _is_large(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > WHOLE


class _Faults:
    """Faults by name: the first of each is told, the others are counted."""

    def __init__(self) -> None:
        self._by_code: dict[str, Finding] = {}

    @property
    def found(self) -> list[Finding]:
        return list(self._by_code.values())

    def add(self, error: Refused) -> None:
        if (known := self._by_code.get(error.code)) is not None:
            known.rows += 1
            return
        self._by_code[error.code] = Finding(code=error.code, message=error.message, row=error.param)

    def of(self, check: Callable[[], Any]) -> Any:
        """What `check` returns; None where it refuses, which is kept."""
        try:
            return check()
        except Refused as error:
            self.add(error)
            return None

    def any(self, *codes: str) -> bool:
        return any(code in self._by_code for code in codes)

    def count(self, code: str) -> int:
        return self._by_code[code].rows if code in self._by_code else 0


def _look_for_held_out(run: Path, spec: TrainingSpec, found: Rows, faults: _Faults) -> None:
    faults.of(lambda: rows.refuse_leaks(found))
    cases = faults.of(lambda: rows.held_out_cases(run, spec))
    if cases is not None:
        faults.of(lambda: rows.refuse_cases(found, cases))


def _cases(run: Path, spec: TrainingSpec) -> Blocklist:
    """The held-out questions; none where they cannot be read, which is a finding of its own."""
    return _Faults().of(lambda: rows.held_out_cases(run, spec)) or Blocklist([])


def _look_for_both_labels(tokens: Sequence[Any], settings: TrainingSettings) -> None:
    placed = data.in_turn(list(tokens), settings.seed)
    data.mismatched(placed, placed, settings.max_length)


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, the first and the last among them, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[round(at * (len(items) - 1) / (count - 1))] for at in range(count)]


def _sample(path: Path, kind: str) -> tuple[list[NamedRow], int]:
    """Rows at evenly spread places of a large file, and how many it has by their mean length.

    The row after each place is taken, so rows that follow long ones come somewhat too often. Raises `Refused`.
    """
    size = path.stat().st_size
    found: dict[int, NamedRow] = {}
    lengths = 0
    places = random.Random(0).sample(range(ROWS), ROWS)  # spread evenly wherever very long rows end it
    with open(path, "rb") as file:
        while places and lengths < WHOLE:
            if (at := size * places.pop() // ROWS) > 0:
                file.seek(at - 1)
                file.readline()  # the rest of the row that the place lies in
            else:
                file.seek(0)
            begin = file.tell()
            line = file.readline()
            if begin in found or not line.strip():
                continue
            name = f"{folder.TRAIN}, the row at byte {begin}"
            try:
                [(number, value)] = read_objects([line])
                found[begin] = NamedRow(name, check_row(number, value, kind))
            except BadRow as error:
                raise Refused("bad_row", f"{name}: {error}", folder.TRAIN) from None
            lengths += len(line)
    if not found:
        raise Refused("no_rows", f"{folder.TRAIN} holds no rows. Add some.", folder.TRAIN)
    return [found[begin] for begin in sorted(found)], max(len(found), round(size * len(found) / lengths))


def _tokens(chat: Chat, named: NamedRow, spec: TrainingSpec, faults: _Faults) -> Tokens | None:
    """A row as the trainer is given it, looked at as `training.preflight` would."""
    faults.of(lambda: reading_back.check_text(named.name, named.row))
    make = data.MAKE[spec.kind]
    made = faults.of(lambda: make(chat, [named], 2**62))
    if made is None:
        return None
    token: Tokens = made[0]
    if token.length > spec.settings.max_length:
        faults.of(lambda: make(chat, [named], spec.settings.max_length))
    told = reading_back.answers(named.row)
    of_sequence = [[answer] for answer in told] if isinstance(named.row, PreferencePair) else [told]
    for (_, ids, loss), answers in zip(_sequences(token), of_sequence, strict=True):
        stretches = reading_back.stretches(ids, loss)
        faults.of(lambda a=answers, s=stretches: reading_back.check_loss(chat, named.name, named.row, a, s))
    return token


def _sequences(token: Tokens) -> list[tuple[str, list[int], list[bool]]]:
    """What the model reads of a row: what it is, its tokens, and whether each carries loss."""
    if isinstance(token, ExampleTokens):
        return [("example", token.input_ids, [label != IGNORED for label in token.labels])]
    if isinstance(token, PairTokens):
        parts = [("preferred", token.chosen_ids), ("non_preferred", token.rejected_ids)]
    else:
        parts = [("desirable" if token.label else "undesirable", token.completion_ids)]
    before = len(token.prompt_ids)
    return [(says, token.prompt_ids + ids, [False] * before + [True] * len(ids)) for says, ids in parts]


def _shown(chat: Chat, token: Tokens) -> ShownRow:
    sequences = []
    for says, ids, loss in _sequences(token):
        end, half = len(ids), SHOWN_TOKENS // 2
        places = range(end) if end <= SHOWN_TOKENS else (*range(half), *range(end - half, end))
        marked = [
            ShownToken(text=chat.tokenizer.decode([ids[at]]), loss=loss[at], end=ids[at] in chat.stops)
            for at in places
        ]
        sequences.append(
            ShownSequence.model_validate({"says": says, "tokens": marked, "omitted": end - len(marked)})
        )
    return ShownRow(row=token.name, sequences=sequences)
