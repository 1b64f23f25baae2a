"""Pages are computed again from what the database knew when they were made, on both databases."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from msgspec import structs
from sqlalchemy import delete, update

from alerts.delivery.pages import PageRouter
from alerts.detectors.base import Rule
from alerts.evaluator import AlertEvaluator
from alerts.incidents.joining import IncidentPolicy
from alerts.incidents.page_inputs import Seen, ShownAlert, page_inputs
from alerts.incidents.verification import Part, Verdict, Verification
from alerts.lifecycle import step
from alerts.metrics import AlertMetrics
from alerts.rules.registry import RULE_TYPES
from alerts.windows.window_reader import WindowReader
from monitor.cli.main import main
from monitor.verification import PageVerifier
from stream.domain.alerts import FIRING_STATES
from stream.domain.documents import Prediction, TextInput
from stream.domain.entities import EntityMention
from stream.domain.incidents import Page, PageKind, page_key
from stream.domain.records import Batch, ClassifiedDocument
from stream.domain.sums import TimeRange
from stream.storage import database, schema
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.events import EVENTS_MARK
from stream.storage.known import page_keys
from stream.storage.leases import Lease
from stream.storage.marks import set_mark
from stream.storage.relabel import relabel
from stream.storage.settings import DatabaseSettings
from stream.storage.stories import STORIES_MARK
from tests.unit.stream.samples import NEWS_1, NOW, about, classified, mention, no_messages
from tests.unit.stream.test_story_task import tasks

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TOPICS = ("Earnings", "Macro")
BASELINE = {"baseline": "2d", "min_baseline": "12h", "min_documents": 5, "count": "texts"}
SURGE = {"type": "negative_surge", "min_negative": 5} | BASELINE
FIELDS: Sequence[dict[str, Any]] = (
    SURGE | {"name": "surge", "window": "15m", "count": "voices", "topics": "all"},
    {"name": "earnings", "window": "15m", "topics": ["Earnings"]} | SURGE,
    {"name": "bank", "window": "30m", "entities": ["bank:NGTB"]} | SURGE,
    {
        "name": "each",
        "type": "volume_surge",
        "window": "30m",
        "entities": "each",
        "false_pages_per_month": 100,
    }
    | BASELINE,
    {
        "name": "mood",
        "min_negative": 5,
        "type": "mood_shift",
        "window": "30m",
        "topics": "all",
        "false_pages_per_month": 100,
    }
    | BASELINE,
    {"name": "share", "type": "threshold", "watch": "negative_share", "threshold": 0.6, "window": "10m"}
    | {"topics": "all", "min_documents": 3, "count": "texts"},
    {"name": "mean", "type": "threshold", "watch": "mean_score", "threshold": -0.3, "window": "10m"}
    | {"topics": "all", "min_documents": 3, "count": "texts"},
    {"name": "gone", "type": "heartbeat", "sources": ["nobody"], "window": "1h", "for": "0s"},
)
RULES: list[Rule] = [RULE_TYPES[str(fields["type"])].model_validate(fields) for fields in FIELDS]
BY_NAME = {rule.name: rule for rule in RULES}
CAUSES = (
    "Northgate Bank freezes withdrawals of depositors",
    "Regulator looks into accounts of Northgate Bank",
    "Depositors queue outside branches in Leeds",
    "Rating of Northgate cut to junk by Moody's",
    "Northgate Bank seeks rescue from treasury",
    "Chief executive of Northgate Bank resigns",
    "Shares of lenders tumble as Northgate halts payouts",
    "Northgate bondholders brace for losses",
)


def unlike_any(at: datetime) -> str:
    """A title that shares no word with that of another time."""
    letters = (
        hashlib.sha256(at.isoformat().encode())
        .hexdigest()
        .translate(str.maketrans("0123456789", "ghijklmnop"))
    )
    return " ".join(letters[place : place + 6] for place in range(0, 48, 6))


@dataclass
class Room:
    """A database with two calm days and a bad quarter of an hour, and the page about it."""

    store: Store
    now: datetime = NOW
    written: list[ClassifiedDocument] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.episodes = SqlEpisodeStore(self.store, Lease(self.store, "alerts", "me", 20), "alerts")
        self.assigner = tasks(self.store)

    def document(
        self, title: str, at: datetime, *mentions: EntityMention, **options: Any
    ) -> ClassifiedDocument:
        number = len(self.written)
        item = classified(f"d{number}", number, at=at, title=title, **options)
        item = structs.replace(item, document=structs.replace(item.document, source=f"wire {number % 9}"))
        self.written.append(item)
        return about(item, *mentions) if mentions else item

    def write(self, items: Sequence[ClassifiedDocument], received_at: datetime) -> None:
        self.store.write(Batch(items), no_messages, received_at)

    def assign(self) -> None:
        while self.assigner.assign_next():
            pass

    def with_news(self) -> "Room":
        with database.writing(self.store.engine) as connection:
            set_mark(connection, EVENTS_MARK, self.now - 3 * DAY)
            set_mark(connection, STORIES_MARK, self.now - 3 * DAY)
        self.calm()
        self.run()
        self.assign()
        return self

    def calm(self) -> None:
        items = []
        for number in range(70):
            at, score = self.now - 2 * DAY + number * 40 * MINUTE, 0.0 if number % 20 else -0.5
            label = {"sentiment": "negative" if score else "neutral", "score": score}
            items.append(self.document(unlike_any(at), at, mention("bank:NGTB", score), **label))
        self.write(items, self.now - HOUR)

    def run(self) -> list[ClassifiedDocument]:
        items = [
            self.document(title, self.now - (len(CAUSES) - place) * MINUTE, mention("bank:NGTB", -0.6))
            for place, title in enumerate(CAUSES)
        ]
        self.write(items, self.now - 10 * MINUTE)
        return items

    def page(self, *names: str) -> Page:
        """The page that these rules make now; one of them that does not fire fails the test."""
        shown = []
        with self.store.reads.at_one_moment(self.now) as moment:
            for name in names or [rule.name for rule in RULES]:
                found = list(self._shown(BY_NAME[name]))
                assert found, f"{name} does not fire"
                shown += found
        inputs = page_inputs(shown, replace(moment, known_at=self.now))
        evidence = [{"key": one.key} for each in shown for one in each.documents]
        key = page_key("i1", PageKind.BEGIN, 1)
        return Page(key, "i1", PageKind.BEGIN, 1, self.now, {"evidence": evidence}, inputs)

    def _shown(self, rule: Rule) -> Iterator[ShownAlert]:
        windows = WindowReader(TOPICS, self.store.reads, self.episodes, self.store.width)
        window = windows.window(rule, self.now)
        for subject, seen in windows.subject_windows(rule, window):
            observation = rule.observe(rule.subject_text(subject), seen)
            alert = step(None, rule, subject, observation, self.now)
            if alert is not None and alert.state in FIRING_STATES:
                found = Seen(rule, subject, seen, observation)
                yield ShownAlert(alert, found, windows.negative_documents(found) if rule.has_evidence else ())

    def verify(self, page: Page, rules: Sequence[Rule] = RULES) -> Verification:
        return PageVerifier(self.store, self.episodes, rules).verify(page)

    def relabel(self, sentiment: str, at: datetime) -> None:
        def classify(inputs: Sequence[TextInput]) -> list[Prediction]:
            score = {"positive": 0.5, "negative": -0.5, "neutral": 0.0}[sentiment]
            item = classified("x", 0, sentiment=sentiment, score=score)
            return [structs.replace(item.prediction, model="m-2") for _ in inputs]

        relabel(
            self.store,
            TimeRange(self.now - 3 * DAY, self.now + DAY),
            "m-2",
            classify=classify,
            outbound=no_messages,
            clock=lambda: at,
        )

    def change(self, statement: Any) -> None:
        """By hand, behind the monitor's back."""
        with database.writing(self.store.engine) as connection:
            connection.execute(statement)


@pytest.fixture
def room(store: Store) -> Room:
    return Room(store).with_news()


def key_of(item: ClassifiedDocument) -> str:
    return item.document.key


def texts(findings: Sequence[Any]) -> str:
    return "\n".join(finding.text for finding in findings)


@pytest.mark.parametrize("rule", [*BY_NAME])
def test_a_page_of_any_rule_comes_out_equal(room: Room, rule: str) -> None:
    page = room.page(rule)
    verification = room.verify(page)
    assert verification.verdict is Verdict.EQUAL, verification
    assert verification.since == ()


def test_labels_that_change_afterwards_are_named_and_leave_the_page_equal(room: Room) -> None:
    page = room.page()
    room.relabel("positive", NOW + HOUR)
    verification = room.verify(page)
    assert verification.verdict is Verdict.EQUAL, verification
    last = key_of(room.written[-1])
    expected = f"{last} was labelled again: negative on Earnings then, positive on Earnings now"
    assert expected in texts(verification.since).splitlines()


def test_a_label_changed_before_the_page_counts_as_it_was_then(room: Room) -> None:
    room.relabel("negative", NOW - 5 * MINUTE)
    page = room.page("share")
    room.relabel("negative", NOW + HOUR)
    assert room.verify(page).verdict is Verdict.EQUAL


def test_documents_and_stories_that_come_later_leave_the_page_equal(room: Room) -> None:
    waiting = room.document("Northgate Bank opens its doors again", NOW - 2 * MINUTE, mention("bank:NGTB"))
    room.write([waiting], NOW - MINUTE)
    page = room.page("earnings", "bank", "share")
    late = room.document("Another bank in trouble", NOW - 3 * MINUTE, mention("bank:NGTB"))
    room.write([late], NOW + 20 * MINUTE)
    room.assign()
    assert room.verify(page).verdict is Verdict.EQUAL


def test_what_a_transaction_wrote_after_the_page_counts_as_later_whatever_its_time(room: Room) -> None:
    page = room.page("share")
    # Received before the page was made, and committed after it.
    room.write([room.document("Northgate in court", NOW - MINUTE)], NOW - timedelta(seconds=2))
    assert room.verify(page).verdict is Verdict.EQUAL


def test_a_topic_that_was_made_anew_has_other_offsets_and_the_time_of_receipt_tells(room: Room) -> None:
    last = room.document("Northgate in court", NOW - MINUTE)
    room.write([last], NOW - timedelta(seconds=30))
    page = room.page("share")
    page = replace(page, inputs=replace(page.inputs, offsets={"news/0": 3}))
    assert room.verify(page).verdict is Verdict.EQUAL


def test_a_changed_rule_is_named_with_what_changed(room: Room) -> None:
    page = room.page("surge", "share")
    changed = RULE_TYPES["threshold"].model_validate(FIELDS[5] | {"threshold": 0.5, "severity": "ticket"})
    verification = room.verify(page, [BY_NAME["surge"], changed])
    assert verification.verdict is Verdict.DIFFERENT
    assert [(one.part, one.text) for one in verification.differences] == [
        (Part.RULE, "share on all: severity was left out, is ticket; threshold was 0.6, is 0.5")
    ]


def test_a_rule_that_is_gone_is_named_and_its_numbers_come_out_still(room: Room) -> None:
    verification = room.verify(room.page("surge"), [])
    assert [(one.part, one.text) for one in verification.differences] == [
        (Part.RULE, "surge on all: it is no longer in the rule file")
    ]


def test_a_document_that_somebody_deleted_is_named(room: Room) -> None:
    page, gone = room.page("share"), room.written[-1]
    room.change(delete(schema.documents).where(schema.documents.c.key == key_of(gone)))
    verification = room.verify(page)
    assert verification.verdict is Verdict.DIFFERENT
    assert [one.part for one in verification.differences] == [Part.DOCUMENT]
    assert f"{key_of(gone)} is gone (8 negative documents then, 7 now)" in texts(verification.differences)


def test_a_document_that_was_slipped_in_is_named(room: Room) -> None:
    page = room.page("share")
    item = classified("slipped", 0, NEWS_1, at=NOW - MINUTE)
    room.write([item], NOW - 10 * MINUTE)
    verification = room.verify(page)
    assert verification.verdict is Verdict.DIFFERENT
    assert f"{key_of(item)} was not among its 8 negative documents" in texts(verification.differences)


def test_a_label_changed_by_hand_leaves_no_record_and_is_a_difference(room: Room) -> None:
    page = room.page("share")
    changed = schema.documents.c.key == key_of(room.written[-1])
    room.change(update(schema.documents).where(changed).values(sentiment="neutral", score=0))
    verification = room.verify(page)
    assert verification.verdict is Verdict.DIFFERENT
    assert "it had 8 negative documents, and 7 are known as of then" in texts(verification.differences)


def test_a_score_changed_by_hand_changes_the_number(room: Room) -> None:
    page, mean = room.page("mean"), BY_NAME["mean"]
    assert room.verify(page, [mean]).verdict is Verdict.EQUAL
    changed = schema.documents.c.key == key_of(room.written[-1])
    room.change(update(schema.documents).where(changed).values(score=-9000))
    verification = room.verify(page, [mean])
    assert [one.part for one in verification.differences] == [Part.NUMBER]
    assert "its value was -0.5, and comes out as -0.55" in texts(verification.differences)


def test_a_story_changed_by_hand_is_named(room: Room) -> None:
    page = room.page("surge")
    changed = schema.document_stories.c.key == key_of(room.written[-1])
    room.change(update(schema.document_stories).where(changed).values(story=1))
    verification = room.verify(page)
    assert [one.part for one in verification.differences] == [Part.STORY]


def test_a_page_of_before_changes_were_kept_is_unknown(room: Room) -> None:
    page = room.page("share")
    with database.writing(room.store.engine) as connection:
        set_mark(connection, EVENTS_MARK, NOW + HOUR)
    verification = room.verify(page)
    assert verification.verdict is Verdict.UNKNOWN
    assert "changes of documents are kept since 2026-03-01 13:00:30 UTC" in texts(verification.missing)


def test_labels_that_changed_in_the_seconds_of_the_page_are_not_known(room: Room) -> None:
    page = room.page("share")
    room.relabel("neutral", NOW - timedelta(seconds=1))
    verification = room.verify(page)
    assert verification.verdict is Verdict.UNKNOWN
    assert "labels were being changed in the seconds of the page" in texts(verification.missing)


def test_a_page_without_inputs_is_unknown_but_for_an_end(room: Room) -> None:
    page = room.page("share")
    empty = replace(page, inputs=replace(page.inputs, alerts=()))
    assert room.verify(empty).verdict is Verdict.UNKNOWN
    assert room.verify(replace(empty, kind=PageKind.END)).verdict is Verdict.EQUAL


def test_a_value_of_an_earlier_window_is_not_compared(room: Room) -> None:
    page = room.page("share")
    (alert,) = page.inputs.alerts
    earlier = replace(alert, value=0.123, count=3)
    assert room.verify(_with(page, earlier)).verdict is Verdict.DIFFERENT
    assert room.verify(_with(page, replace(earlier, has_value=False))).verdict is Verdict.EQUAL


def test_pages_of_a_live_run_come_out_equal_and_so_they_do_after_relabelling(store: Store) -> None:
    """The clock is that of the database here, since pages note its time."""
    room = Room(store, datetime.now(UTC)).with_news()
    evaluator = AlertEvaluator(
        rules=RULES,
        topics=TOPICS,
        reader=store.reads,
        episodes=room.episodes,
        delivery=PageRouter(("webhook:desk",)),
        window_width=store.width,
        metrics=AlertMetrics(),
        policy=IncidentPolicy(update_every=timedelta(0), calm=timedelta(0)),
    )
    for place, title in enumerate((*CAUSES, *CAUSES, *CAUSES)):
        room.write([room.document(f"{title} again", room.now, mention("bank:NGTB", -0.6))], datetime.now(UTC))
        if place % 4 == 0:
            room.assign()
            evaluator.evaluate(datetime.now(UTC))
    for hours in (2, 4):  # calm texts come, and all of it ends
        at = datetime.now(UTC) + hours * HOUR
        calm = room.document(unlike_any(at), at - MINUTE, sentiment="neutral", score=0.0)
        room.write([calm], datetime.now(UTC))
        evaluator.evaluate(at)
    pages = [room.episodes.page(key) for key in page_keys(store.engine)]
    verdicts = {page.key: room.verify(page) for page in pages if page is not None}
    assert {page.kind for page in pages if page is not None} == set(PageKind)
    assert {each.verdict for each in verdicts.values()} == {Verdict.EQUAL}, verdicts
    room.relabel("positive", datetime.now(UTC) + MINUTE)
    again = {page.key: room.verify(page) for page in pages if page is not None}
    assert {each.verdict for each in again.values()} == {Verdict.EQUAL}, again
    assert any(
        "negative on Earnings then, positive on Earnings now" in texts(each.since) for each in again.values()
    )


def _with(page: Page, *alerts: Any) -> Page:
    return replace(page, inputs=replace(page.inputs, alerts=alerts))


class TestCommand:
    """`monitor verify` over a database, with a rule file."""

    @pytest.fixture
    def rules(
        self, tmp_path: Path, database_settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
    ) -> Path:
        monkeypatch.setenv("MONITOR_DATABASE__URL", database_settings.url.get_secret_value())
        path = tmp_path / "rules.yaml"
        path.write_text(json.dumps({"rules": [dict(each) for each in FIELDS if "entities" not in each]}))
        return path

    def run(self, rules: Path, *words: str) -> Result:
        return CliRunner().invoke(main, ["verify", "--rules", str(rules), *words])

    def save(self, room: Room, *pages: Page) -> None:
        assert room.episodes._lease.acquire()
        room.episodes.save([], [], [], [], NOW, pages=pages)

    def test_the_exit_code_and_the_lines_say_what_became_of_the_pages(self, room: Room, rules: Path) -> None:
        page = room.page("share", "mean")
        unknown = replace(page, key="i2:begin:1", incident="i2", inputs=replace(page.inputs, alerts=()))
        self.save(room, page, unknown)
        result = self.run(rules, page.key)
        assert (result.exit_code, result.stdout) == (
            0,
            "i1:begin:1: equal\n1 equal, 0 different, 0 unknown\n",
        )
        assert self.run(rules, "--all").exit_code == 2
        room.change(delete(schema.documents).where(schema.documents.c.key == key_of(room.written[-1])))
        result = self.run(rules, "--all")
        assert result.exit_code == 1 and "  differs, document: share on all: " in result.stdout
        answers = [json.loads(line) for line in self.run(rules, "--all", "--json").stdout.splitlines()]
        assert {answer["page"]: answer["verdict"] for answer in answers} == {
            "i1:begin:1": "different",
            "i2:begin:1": "unknown",
        }
        assert {one["part"] for one in answers[0]["differences"]} == {"document"}

    def backtest(self, rules: Path) -> Path:
        result = CliRunner().invoke(main, ["backtest", "--rules", str(rules), "--json"])
        assert result.exit_code == 0, result.output
        file = rules.with_name("pages.json")
        file.write_text(result.stdout)
        assert json.loads(result.stdout)["pages"]
        return file

    def test_the_pages_of_a_backtest_come_out_again_whatever_labels_say_now(
        self, room: Room, rules: Path
    ) -> None:
        file = self.backtest(rules)
        room.relabel("positive", datetime.now(UTC) + HOUR)
        result = self.run(rules, "--backtest", str(file))
        assert result.exit_code == 0, result.output
        # Without the moment at which it was read, the labels of now are all that is known.
        answer = json.loads(file.read_text())
        answer["tested"]["moment"]["known_at"] = (datetime.now(UTC) + 2 * HOUR).isoformat()
        file.write_text(json.dumps(answer))
        result = self.run(rules, "--backtest", str(file))
        assert result.exit_code == 1 and "the page does not come out again" in result.stdout

    def test_all_pages_of_months_come_out_again_beginnings_updates_and_ends(
        self, store: Store, rules: Path
    ) -> None:
        room = Room(store).with_news()
        for weeks in range(1, 9):  # a bad hour a week: a text a minute, and later four that are twice as bad
            begin = NOW - weeks * 7 * DAY - 3 * HOUR
            scores = dict.fromkeys(range(8), -0.5) | {40 + each / 4: -1.0 for each in range(32)}
            bad = [
                room.document(unlike_any(at), at, mention("bank:NGTB", score), score=score)
                for minute, score in scores.items()
                for at in [begin + minute * MINUTE]
            ]
            calm = [
                room.document(unlike_any(at), at, sentiment="neutral", score=0.0)
                for at in (begin - 2 * DAY + place * 40 * MINUTE for place in range(80))
            ]
            room.write([*bad, *calm], NOW - HOUR)
        room.assign()
        answer = json.loads(self.backtest(rules).read_text())
        pages = answer["pages"] + answer["others"]
        assert {page["page"] for page in pages} == set(PageKind) and len(pages) >= 3 * 8
        room.relabel("positive", datetime.now(UTC) + HOUR)
        result = self.run(rules, "--backtest", str(rules.with_name("pages.json")))
        assert result.stdout.splitlines()[-1] == f"{len(pages)} equal, 0 different, 0 unknown", result.output

    def test_a_changed_rule_of_a_backtest_is_named(self, room: Room, rules: Path) -> None:
        file = self.backtest(rules)
        fields = [dict(each) | {"min_documents": 4} for each in FIELDS if each["name"] == "share"]
        rules.write_text(json.dumps({"rules": fields}))
        lines = self.run(rules, "--backtest", str(file)).stdout.splitlines()
        assert "  differs, rule: share on all: min_documents was 3, is 4" in lines
        assert "  differs, rule: mean on all: it is no longer in the rule file" in lines

    def test_a_file_that_is_no_backtest_is_said(self, rules: Path) -> None:
        result = self.run(rules, "--backtest", str(rules))
        assert result.exit_code == 1 and "is not what `monitor backtest --json` printed" in result.output
        rules.with_name("pages.json").write_text('{"pages": [], "others": [], "tested": {}}')
        result = self.run(rules, "--backtest", str(rules.with_name("pages.json")))
        assert result.exit_code == 1 and "is of a backtest of a file: name it with --data" in result.output

    def test_a_name_that_is_no_page_is_said(self, room: Room, rules: Path) -> None:
        result = self.run(rules, "nothing")
        assert result.exit_code == 1 and "there is no page and no incident 'nothing'" in result.output

    def test_it_must_be_told_what_to_verify(self, rules: Path) -> None:
        assert "name a PAGE, or give --all" in self.run(rules).output
