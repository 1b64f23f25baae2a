"""Whether a page comes out the same when it is computed again from what was known when it was made.  Pure.

The documents are compared by their digests, exactly.  A rule's count is compared exactly too, and its value
as far as that can be: what is usual was learned up to a quarter of a window earlier, and documents that came
in between are known now.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import ValidationError

from alerts.detectors.base import Observation, Rule, Subject
from alerts.history.known_store import KnownStore, KnownText
from alerts.incidents.page_inputs import documents_digest, is_kept, rule_digest, rule_fields, stories_digest
from alerts.rules.registry import RULE_TYPES
from alerts.rules.watched_entities import EACH, WatchedEntities
from alerts.schedules.calendars import TradingCalendars
from alerts.windows.window_reader import WindowReader, all_texts, first_compared, scope_of
from stream.domain.documents import SCORE_SCALE
from stream.domain.incidents import AlertInputs, PageDocument, PageInputs
from stream.domain.sums import TimeRange

# How far, as a part of it, a value may lie from the one on the page where documents that came a little later
# have changed what is usual; other values are the same but for rounding.
LEARNED, ROUNDED = 0.05, 1e-9
# A report names so many documents, and looks for the one that was added among so many.
NAMED_DOCUMENTS, MOST_TRIED = 20, 2000
NO_CALENDARS = TradingCalendars()


class Verdict(StrEnum):
    """What became of a page that was computed again, the best first."""

    EQUAL = "equal"
    UNKNOWN = "unknown"
    DIFFERENT = "different"


class Part(StrEnum):
    """What of a page is different, or cannot be known."""

    RULE = "rule"
    DOCUMENT = "document"
    LABEL = "label"
    STORY = "story"
    NUMBER = "number"
    RECORD = "record"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is different in one part of an alert, or missing for it, in words."""

    part: Part
    alert: str
    text: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What a page is now.  `since` are the changes that came after it, which leave it as it was."""

    differences: tuple[Finding, ...] = ()
    missing: tuple[Finding, ...] = ()
    since: tuple[Finding, ...] = ()

    @property
    def verdict(self) -> Verdict:
        if self.differences:
            return Verdict.DIFFERENT
        return Verdict.UNKNOWN if self.missing else Verdict.EQUAL


def not_known(reason: str) -> Verification:
    """The verification of a page of which something is missing altogether."""
    return Verification(missing=(Finding(Part.RECORD, "", reason),))


def recorded_rule(inputs: AlertInputs, present: Rule | None) -> Rule | None:
    """The rule as it was evaluated; None if that cannot be known.

    Long settings were not kept: they are those of the present rule if their digests are.
    """
    if not inputs.rule_fields:
        return present if present is not None and rule_digest(present) == inputs.rule_digest else None
    now = {} if present is None else rule_fields(present)
    kept: dict[str, object] = {}
    for name, setting in inputs.rule_fields.items():
        if is_kept(setting):
            kept[name] = json.loads(setting)
        elif present is None or now.get(name) != setting:
            return None
        else:
            kept[name] = present.model_dump(by_alias=True)[name]
    if kept.get("entities") is not None:
        kept["entities"] = _watched(kept["entities"])
        kept.pop("topics", None)  # a rule on entities watches all of them
    try:
        return RULE_TYPES[str(kept["type"])].model_validate(kept)
    except (KeyError, ValidationError):  # another version wrote it
        return None


def _watched(setting: object) -> WatchedEntities:
    if isinstance(setting, Mapping):  # as a dump has it
        setting = setting.get("ids") or EACH
    if isinstance(setting, list | tuple):
        return WatchedEntities(", ".join(setting), tuple(setting))
    return WatchedEntities(str(setting))


def time_range(rules: Iterable[Rule], inputs: Sequence[AlertInputs], width: timedelta) -> TimeRange:
    """When the documents were published that an evaluation of these rules reads for a page."""
    starts = [first_compared(rule, TimeRange(each.start, each.end)) for rule in rules for each in inputs]
    return TimeRange(min(starts), max(each.end for each in inputs) + width)


def verify(
    inputs: PageInputs,
    at: datetime,
    rules: Mapping[str, Rule],
    known: KnownStore,
    width: timedelta,
    evidence: Iterable[str] = (),
    calendars: TradingCalendars = NO_CALENDARS,
) -> Verification:
    """Compare a page of the time `at` with what comes out of what was known then.

    `rules` are those of now by name, `width` is the width of the stored windows, and `evidence` are the keys
    of the documents that the page shows.  `calendars` are those that the rules name.
    """
    differences: list[Finding] = []
    missing: list[Finding] = []
    since: list[Finding] = []
    for each in inputs.alerts:
        present = rules.get(each.rule)
        differences += _rule_differences(each, present)
        rule = recorded_rule(each, present)
        if rule is None:
            missing.append(_finding(Part.RULE, each, "what it said then was not kept whole"))
            continue
        windows = WindowReader((each.topic,), known, known, width)
        windows.calendars = calendars
        again = _Again(each, rule, known, windows, is_late=each.end < at)
        unsettled = again.documents_differ and any(one.is_unsettled for one in again.known_documents)
        if unsettled:
            text = "labels were being changed in the seconds of the page"
            missing.append(_finding(Part.LABEL, each, text))
        else:
            differences += again.differences(set(evidence))
        since += again.changes_since()
    return Verification(tuple(differences), tuple(missing), tuple(dict.fromkeys(since)))


def compare(then: PageInputs, again: PageInputs | None, rules: Mapping[str, Rule]) -> Verification:
    """Compare a page of a backtest with the page of the same key when all was tested again; None if none
    came."""
    now = {each.alert: each for each in again.alerts} if again is not None else {}
    differences: list[Finding] = []
    for each in then.alerts:
        changed = _rule_differences(each, rules.get(each.rule))
        differences += changed or _input_differences(each, now.get(each.alert))
    return Verification(tuple(differences))


def _input_differences(then: AlertInputs, now: AlertInputs | None) -> list[Finding]:
    if now is None:
        return [_finding(Part.NUMBER, then, "the page does not come out again, or without this alert")]
    if now.documents != then.documents:
        text = f"it had {then.n} negative documents, and has {now.n}, or others"
        return [_finding(Part.DOCUMENT, then, text)]
    if now.stories != then.stories:
        return [_finding(Part.STORY, then, "the same documents have other stories")]
    if (now.value, now.count) != (then.value, then.count):
        text = f"its value was {then.value:.4g} (of {then.count}), and is {now.value:.4g} (of {now.count})"
        return [_finding(Part.NUMBER, then, text)]
    return []


def _rule_differences(inputs: AlertInputs, present: Rule | None) -> list[Finding]:
    """How the rule of now differs from the one that was evaluated."""
    if present is None:
        return [_finding(Part.RULE, inputs, "it is no longer in the rule file")]
    if inputs.rule_digest in (rule_digest(present), rule_digest(present.counting_texts())):
        return []
    then, now = inputs.rule_fields, rule_fields(present)
    names = [name for name in sorted(then.keys() | now.keys()) if then.get(name) != now.get(name)]
    changes = [f"{name} was {_setting(then.get(name))}, is {_setting(now.get(name))}" for name in names]
    return [_finding(Part.RULE, inputs, "; ".join(changes) or "it has changed")]


def _setting(setting: str | None) -> str:
    if setting is None:
        return "left out"
    return setting.strip('"') if is_kept(setting) else "another"


def _finding(part: Part, inputs: AlertInputs, text: str) -> Finding:
    subject = inputs.entity or inputs.topic
    return Finding(part, inputs.alert, f"{inputs.rule} on {subject}: {text}" if subject else text)


class _Again:
    """One alert of a page, computed again."""

    def __init__(
        self, inputs: AlertInputs, rule: Rule, known: KnownStore, windows: WindowReader, *, is_late: bool
    ) -> None:
        self._inputs, self._rule, self._known, self._is_late = inputs, rule, known, is_late
        self._windows = windows
        window = TimeRange(inputs.start, self._windows.last_end(inputs.end))
        scope = all_texts(scope_of(rule, Subject(inputs.topic, inputs.entity), window, late=is_late))
        # The texts of a scope with an entity have the sentiment towards it.
        negative = {text.key for text in known.negative_texts(scope)} if rule.has_evidence else set()
        self.known_documents = known.known_in(scope) if rule.watches_documents else []
        self._documents = [_page_document(one) for one in self.known_documents if one.text.key in negative]

    @property
    def documents_differ(self) -> bool:
        recorded = self._inputs.documents
        return recorded is not None and documents_digest(self._documents) != recorded

    def differences(self, evidence: set[str]) -> list[Finding]:
        """What is not as the page has it: the documents, else their stories, else the numbers."""
        if self.documents_differ:
            return [self._find(Part.DOCUMENT, self._documents_text(evidence))]
        if self._inputs.stories is not None and stories_digest(self._documents) != self._inputs.stories:
            return [self._find(Part.STORY, "the same documents have other stories now")]
        return [self._find(Part.NUMBER, text) for text in self._numbers()]

    def _documents_text(self, evidence: set[str]) -> str:
        then, now = self._inputs.n, len(self._documents)
        if now > then and (added := self._added()):
            return f"{added} was not among its {then} negative documents"
        gone = sorted(evidence - self._known.by_key.keys())
        if gone:
            return f"{', '.join(gone[:NAMED_DOCUMENTS])} is gone ({then} negative documents then, {now} now)"
        if then == now:
            return f"its {then} negative documents are not those of then, or have other labels"
        return f"it had {then} negative documents, and {now} are known as of then"

    def _added(self) -> str | None:
        """The one document without which the others are those of the page."""
        documents = self._documents
        if len(documents) != self._inputs.n + 1 or len(documents) > MOST_TRIED:
            return None
        for place, document in enumerate(documents):
            others = documents[:place] + documents[place + 1 :]
            if documents_digest(others) == self._inputs.documents:
                return document.key
        return None

    def _numbers(self) -> list[str]:
        """How the numbers that the rule sees differ from those of the page."""
        inputs = self._inputs
        if not inputs.has_value:
            return []
        seen = self._observe()
        if seen is None:
            return ["the rule finds nothing in the window"]
        if seen.value is None:
            return [f"there is no value: {seen.uncertainty}"]
        differences = []
        is_learned = self._rule.baseline_spec is not None
        if seen.n != inputs.count and self._rule.step_length is None:
            counted = f"{inputs.count} {self._rule.noun}"
            differences.append(f"it counted {counted}, and {seen.n} are known as of then")
        if not math.isclose(seen.value, inputs.value, rel_tol=LEARNED if is_learned else ROUNDED):
            differences.append(f"its value was {inputs.value:.4g}, and comes out as {seen.value:.4g}")
        return differences

    def _observe(self) -> Observation | None:
        """What the rule sees of its subject."""
        inputs, rule, windows = self._inputs, self._rule, self._windows
        window = TimeRange(inputs.start, inputs.end)
        windows.look_at_models([rule], window.end)
        open_entities = [inputs.entity] if inputs.entity else []
        late_from = window.start if self._is_late else None
        for subject, seen in windows.subject_windows(rule, window, open_entities, late_from):
            if (subject.topic, subject.entity) == (inputs.topic, inputs.entity):
                return rule.observe(rule.subject_text(subject), seen)
        return None

    def changes_since(self) -> list[Finding]:
        """The documents that have changed since the page."""
        changed = sorted((one.text.key, one.since) for one in self.known_documents if one.since)
        shown = [self._since(f"{key} {what}") for key, what in changed[:NAMED_DOCUMENTS]]
        if len(changed) > NAMED_DOCUMENTS:
            shown.append(self._since(f"and {len(changed) - NAMED_DOCUMENTS} more documents"))
        return shown

    def _find(self, part: Part, text: str) -> Finding:
        return _finding(part, self._inputs, text)

    def _since(self, text: str) -> Finding:
        return Finding(Part.LABEL, self._inputs.alert, text)


def _page_document(known: KnownText) -> PageDocument:
    """What the digests are of."""
    text, assignment = known.text, known.text.assignment
    return PageDocument(
        key=text.key,
        version=known.version,
        kind=text.kind,
        source=text.source,
        published_at=text.published_at,
        received_at=known.received_at,
        topic=text.topic,
        score=text.score / SCORE_SCALE,
        story=assignment.story if assignment else None,
        is_voice=assignment.is_voice if assignment else None,
    )
