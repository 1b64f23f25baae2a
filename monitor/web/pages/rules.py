"""The pages of the rules: what each sent, and would have sent with its numbers and with others."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler

from alerts.detectors.base import Rule
from alerts.errors import RuleError
from alerts.incidents.advice import Advice, advise
from alerts.incidents.judgement import Precision, precisions
from alerts.rules.rule_edit import changed_numbers, numbers_of, rule_text, with_numbers
from alerts.rules.watchlist_edit import FileChange
from monitor.backtest.trial import TRIED_DAYS, TrialRequest, TrialResult, run_trial
from monitor.jobs import Job, Jobs, Work
from monitor.web.access.users import Role, requires
from monitor.web.answers import PAGE_HEADERS, AnyRequest
from monitor.web.desk import Desk, last_segment
from monitor.web.errors import BadRequest, Conflict
from monitor.web.rendering import path_segment
from monitor.web.rule_files import ReadRules, RuleFiles, digest
from monitor.web.rule_words import MEANINGS
from stream.domain.incident_actions import JudgedAlert
from stream.storage.audit import AuditEntry, write_audit
from stream.storage.desk.judgements import judged_alerts

# What was tried is shown again for so long: the last days hardly change.
TRIAL_SECONDS = 600.0
EVERY_RULE = "all"


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of these pages."""
    pages = RulePages(desk)

    @get("/rules", include_in_schema=False)
    async def rules(request: AnyRequest) -> Response[bytes]:
        query = dict(request.query_params)
        return await desk.page(request, "rules.html", lambda: pages.overview(query))

    @get("/rules/{rest:path}", include_in_schema=False)
    async def rule(request: AnyRequest) -> Response[bytes]:
        name, query = last_segment(request, "/rules/"), dict(request.query_params)
        return await desk.page(request, "rule.html", lambda: pages.one(name, query))

    @post("/rules/{rest:path}", guards=[requires(Role.ADMIN)], include_in_schema=False)
    async def save(request: AnyRequest) -> Response[bytes]:
        name, form = last_segment(request, "/rules/"), dict(await request.form())
        problem = await desk.read(lambda: pages.save(name, form, request.user.name))
        if problem:
            answer = await desk.page(request, "rule.html", lambda: pages.one(name, form, problem))
            answer.status_code = 409
            return answer
        address = f"{desk.prefix}/rules/{path_segment(name)}?saved=yes"
        return Response(b"", status_code=303, headers=PAGE_HEADERS | {"Location": address})

    return [rules, rule, save]


@dataclass(frozen=True)
class RuleRow:
    """A rule with what it sent lately, and what the desk said of that."""

    rule: Rule
    precision: Precision


class RulePages:
    """What the pages show, and what their form does."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._files, self._jobs = desk, RuleFiles(desk.rule_file), Jobs()

    def overview(self, query: Mapping[str, str]) -> dict[str, object]:
        """What the list shows.  Raises StoreUnavailable and Overloaded."""
        read = self._files.read()
        rows, _ = self._judged(read.rules)
        is_tried = query.get("try") == EVERY_RULE and not read.problem
        names = tuple(rule.name for rule in read.rules)
        return {
            "file": read,
            "rows": rows,
            "days": TRIED_DAYS,
            "trial": self._trial(read, names, None) if is_tried else None,
            "again": "/rules?" + urlencode({"try": EVERY_RULE, "fragment": "trial"}),
        }

    def one(self, name: str, query: Mapping[str, str], problem: str = "") -> dict[str, object] | None:
        """What the page of one rule shows, with the numbers of its address; None if there is no such rule.

        `problem` is why they could not be saved.  Raises StoreUnavailable and Overloaded.
        """
        read = self._files.read()
        rule = read.rule(name)
        if rule is None:
            return None
        rows, alerts = self._judged([rule])
        change = None
        try:
            change = self._change(read, rule, query)
        except RuleError as error:
            problem = problem or str(error)
        changes = {} if change is None else change.numbers
        asked = {"fragment": "trial", **changes}
        return {
            "file": read,
            "rule": rule,
            "row": rows[0],
            "advice": _adviced(rule, alerts, rows[0].precision),
            "numbers": numbers_of(rule),
            "meanings": MEANINGS,
            "given": {number.key: query.get(number.key, number.text) for number in numbers_of(rule)},
            "change": change,
            "rule_text": partial(rule_text, read.path),
            "seen": digest(read.text),
            "problem": problem or read.problem,
            "saved": query.get("saved") == "yes",
            "read_only": self._files.why_read_only(read.path),
            "admin": Role.ADMIN,
            "days": TRIED_DAYS,
            "trial": None if problem or read.problem else self._trial(read, (name,), change),
            "again": f"/rules/{path_segment(name)}?{urlencode(asked)}",
        }

    def save(self, name: str, form: Mapping[str, Any], user: str) -> str:
        """Put the numbers of a form into the rule file; why they could not be, empty if they were.

        Raises StoreUnavailable.
        """
        read = self._files.read()
        rule = read.rule(name)
        if rule is None:
            return f"there is no rule {name}: it was renamed or removed"
        try:
            change = self._change(read, rule, {key: str(value) for key, value in form.items()})
            if change is None:
                return "every number is as it was"
            if form.get("seen") != digest(read.text):
                return f"{read.path} was changed since you looked: check the numbers, and save them again"
            self._files.save(change.file)
        except (RuleError, BadRequest, Conflict) as error:
            return str(error)
        entry = AuditEntry(self._desk.clock(), user, "rule.save", name, change.in_words)
        write_audit(self._desk.store.engine, entry)
        return ""

    def _judged(self, rules: Sequence[Rule]) -> tuple[list[RuleRow], list[JudgedAlert]]:
        now = self._desk.clock()
        since = now - timedelta(days=TRIED_DAYS)
        alerts = judged_alerts(self._desk.store, since)
        found = precisions(alerts, since, now)
        rows = [RuleRow(rule, found.get(rule.name, Precision(rule.name, now - since))) for rule in rules]
        return rows, alerts

    def _change(self, read: ReadRules, rule: Rule, given: Mapping[str, str]) -> "RuleChange | None":
        """The change of the rule to the given numbers, None without any.  Raises RuleError."""
        numbers = changed_numbers(rule, given)
        if not numbers or read.problem:
            return None
        text = with_numbers(read.path, read.text, rule.name, numbers)
        self._files.check({read.path: text})
        before = {number.key: number.text for number in numbers_of(rule)}
        return RuleChange(numbers, before, FileChange(read.path, read.text, text))

    def _trial(
        self, read: ReadRules, names: tuple[str, ...], change: "RuleChange | None"
    ) -> Job[TrialResult]:
        """What these rules would have sent, or how far that is known.  Raises Overloaded."""
        desk = self._desk
        texts = {} if change is None else {read.path: change.file.after}
        request = TrialRequest(read.path, names, desk.clock(), desk.topics, desk.event_types, texts)
        key = hashlib.sha256(repr((names, read.text, sorted(texts.items()))).encode()).hexdigest()
        return self._jobs.ask(Work(key, run_trial, (desk.settings, request), TrialResult), TRIAL_SECONDS)


@dataclass(frozen=True)
class RuleChange:
    """Other numbers of a rule, what they were, and the rule file with them."""

    numbers: Mapping[str, str]
    before: Mapping[str, str]
    file: FileChange

    @property
    def in_words(self) -> str:
        """Such as: factor 4 instead of 3, window 30m instead of 15m."""
        pairs = self.numbers.items()
        return ", ".join(f"{key} {text} instead of {self.before[key] or 'none'}" for key, text in pairs)


def _adviced(rule: Rule, alerts: Sequence[JudgedAlert], precision: Precision) -> list[tuple[Advice, str]]:
    """What follows from what the desk said, each with the query that tries it; empty if it is no number."""
    keys = {number.key for number in numbers_of(rule)}
    return [
        (each, urlencode({each.setting: each.proposed}) if each.setting in keys else "")
        for each in advise(rule, alerts, precision)
    ]
