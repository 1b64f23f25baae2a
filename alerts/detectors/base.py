"""What every rule type shares: the base class, what a rule looks at, and what it reports."""

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from alerts.baselines.expectation import BaselineSpec, Expectation
from alerts.delivery import template
from alerts.rules.watched_entities import Watched
from alerts.wording import events_text, nouns, number_text, span_text
from stream.domain.alerts import Alert, Severity
from stream.domain.documents import Kind
from stream.domain.sums import Aggregate, Counted, MentionSelection, Selection, TimeRange

ALL_TOPICS = "all"
# Entities with less relevance are named in passing, such as the members of a list of thirty tickers.
DEFAULT_RELEVANCE: Literal[20] = 20
NO_TIME = timedelta(0)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_SECONDS = 366 * 86_400
SEVERITY_SCHEMA = {"enum": list(Severity), "title": "Severity", "type": "string"}
COUNT_SCHEMA = {"enum": list(Counted), "title": "Count", "type": "string"}
# What restricts documents in another way than entities do.
NOT_WITH_ENTITIES = ("topics", "symbols")
Watch = Literal["mean_score", "negative_share"]
SumField = Literal["n", "negative", "score_sum"]


def parse_duration(value: object) -> object:
    """The duration that a text such as 90s, 15m, 24h or 7d means.  Raises ValueError."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value).strip())
    if not match:
        raise ValueError("a duration is a number and a unit: 90s, 15m, 24h or 7d")
    seconds = float(match[1]) * UNITS[match[2]]
    if seconds > LONGEST_SECONDS:
        raise ValueError("at most 366d")
    return timedelta(seconds=seconds)


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {"type": "string", "pattern": r"^\d+(\.\d+)?[smhd]$", "examples": ["90s", "15m", "24h", "7d"]}
    ),
]


# Every name is a parameter of each query of the rule, and a database takes some thousands.
Text = Annotated[str, Field(max_length=1000)]
Names = Annotated[tuple[Text, ...], Field(max_length=1000)]
CountSetting = Annotated[Counted, WithJsonSchema(COUNT_SCHEMA)]


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule watches by itself: a topic, or an entity on all topics.

    `entity` is its id and `name` how a reader knows it.  Two subjects with the same id are the same.
    """

    topic: str
    entity: str | None = None
    name: str = field(default="", compare=False)

    @property
    def text(self) -> str:
        """What sentences call it."""
        return self.topic if self.entity is None else self.name or self.entity


@dataclass(frozen=True, slots=True)
class SubjectWindow:
    """What a rule looks at: one topic or entity in the window [start, end).

    `total` sums up its documents.  `feed_is_live` is whether any topic had a document in the window: no data
    does not mean no problem.  `expectation` computes what is usual; None for rules without baseline.
    `share` is the share of the rule's budget of false pages that is for this topic or entity, above 0 and at
    most 1.  `steps` are the completed steps of the window, for rules with a `step_length`.  `last_seen` says
    when each source last published in the window, for rules that watch sources.  `of_other_model` is whether
    another model than the present one labelled some of the window.  `trading` are the trading hours in the
    window; None for a rule without a calendar, or where they are not known.
    """

    total: Aggregate
    start: datetime
    end: datetime
    feed_is_live: bool
    expectation: Callable[[], Expectation] | None = None
    share: float = 1.0
    steps: Sequence[Aggregate] = ()
    last_seen: Mapping[str, datetime] = field(default_factory=dict)
    of_other_model: bool = False
    trading: Sequence[TimeRange] | None = None

    @property
    def length(self) -> timedelta:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Observation:
    """What a rule reports of one topic or entity: `breached` asks for an alert, `calm` for its end.

    Both are false between the two thresholds.  Without data both are false and `value` is None.  Too few
    documents on a live feed are calm and have no value either: an episode keeps its last value.
    `chance_per_year` is how often chance alone does this, over all that the rule watches; None if the rule
    computes no such chance.
    """

    n: int
    value: float | None
    threshold: float
    breached: bool
    calm: bool
    uncertainty: str
    summary: str
    usual: float | None = None
    chance_per_year: float | None = None


def no_data(threshold: float, n: int, reason: str) -> Observation:
    """Nothing is known, so an alert neither begins nor ends."""
    return Observation(n, None, threshold, breached=False, calm=False, uncertainty=reason, summary=reason)


def calm(threshold: float, n: int, reason: str, summary: str) -> Observation:
    """Calm, but there is no value to report."""
    return Observation(n, None, threshold, breached=False, calm=True, uncertainty=reason, summary=summary)


class Rule(BaseModel):
    """The base of all rule types.

    `topics` is `each` (every topic by itself), `all` (all of them together) or a list of names.  `entities`,
    instead of topics, is `each`, `watchlist NAME` or a list of ids: the rule then counts the documents about
    each entity, of at least `min_relevance`, and the sentiment towards it.  `sources`, `symbols` and
    `languages` restrict the rule to matching documents, and `events` to those that report an event of one of
    these types.  The window is the latest stretch of event time, up to now.  `for` is how long a breach must
    last before the rule fires, `keep_firing_for` how long it must be over before the alert resolves, and
    `cool_down` how long the rule then stays quiet.
    `min_sources` and `min_authors` are the fewest distinct sources and authors of the negative documents, and
    `min_voices` the fewest voices among them.
    `count` is what the rule counts: all texts; voices, which are no copies and the only ones of their origin
    on their story within an hour; or stories, each by its first text.  `min_novelty` restricts the rule to
    documents with at least this novelty.
    An alert that fired `flap_count` times within `flap_window` and fires again is flapping: it pages once,
    and resolves after a calm of that length.  `message` is a template of what a page says: {{ topic }},
    {{ entity_name }}, {{ value }}, {{ n }} and the alert's other fields.

    A subclass is a rule type: it declares its `type` and its own settings, and implements `observe`.  The
    rest of the code asks a rule only for what this class declares.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        allow_inf_nan=False,
        json_schema_extra={
            "allOf": [{"not": {"required": ["entities", other]}} for other in NOT_WITH_ENTITIES],
            "dependentRequired": {"min_relevance": ["entities"]},
        },
    )

    # Whether the rule looks at documents; a rule that does not watches sources.
    watches_documents: ClassVar[bool] = True
    # Whether there are documents to show as evidence of a breach.
    has_evidence: ClassVar[bool] = True
    # Whether the rule looks for what is missing: it looks at every entity that it names, and cannot watch
    # each, since most entities are not written about most of the time.
    looks_for_absence: ClassVar[bool] = False
    # Whether its alerts are events of their own: what they see is no story that other rules see too.
    stands_alone: ClassVar[bool] = False
    # The sums that must each reach a limit of their own for the rule to fire, if no other sums decide; see
    # `alerts.robustness`.
    limited_sums: ClassVar[tuple[SumField, ...]] = ()
    # The defaults of a rule on entities: there are fewer documents about an entity than on a topic.
    entity_defaults: ClassVar[Mapping[str, Any]] = {"min_documents": 5}

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$")
    topics: Literal["each", "all"] | Names = "each"
    entities: Watched = None
    min_relevance: Literal[0, 20, 40, 60, 80] = DEFAULT_RELEVANCE
    kinds: tuple[Kind, ...] = Field(tuple(Kind), min_length=1, max_length=len(Kind))
    sources: Names = ()
    symbols: Names = ()
    languages: Names = ()
    events: Names = ()
    window: Duration = timedelta(minutes=15)
    min_documents: int = Field(20, ge=1)
    min_sources: int = Field(1, ge=1)
    min_authors: int = Field(0, ge=0)
    count: CountSetting = Counted.TEXTS
    min_voices: int = Field(1, ge=1)
    min_novelty: int = Field(0, ge=0, le=100)
    hold: Duration = Field(NO_TIME, alias="for")
    keep_firing_for: Duration = timedelta(minutes=5)
    cool_down: Duration = NO_TIME
    flap_count: int = Field(3, ge=1)
    flap_window: Duration = timedelta(hours=3)
    message: str | None = Field(None, max_length=template.LONGEST_TEMPLATE)
    severity: Annotated[Severity, WithJsonSchema(SEVERITY_SCHEMA)] = Severity.PAGE
    labels: dict[Text, Text] = Field({}, max_length=64)
    runbook: str | None = Field(None, max_length=2000)

    @abstractmethod
    def observe(self, subject: str, window: SubjectWindow) -> Observation:
        """Look at one topic or entity, which sentences call `subject`.

        Pure: the result depends on the arguments alone.
        """

    def firing(self, subject: str, window: SubjectWindow) -> Callable[[Aggregate], bool]:
        """Whether the rule would fire on this window if its documents had other sums.  What is usual stays as
        it is."""
        return lambda total: self.observe(subject, replace(window, total=total)).breached

    def in_words(self, alert: Alert) -> str:
        """What the rule saw in an alert of its own, as a sentence for somebody who knows neither the rule nor
        the monitor: without the subject, and without an end."""
        return alert.summary.removeprefix(f"{alert.subject}: ")

    @property
    def worsening_sum(self) -> SumField | None:
        """The sum that decides with the number of documents given: the rule fires the more easily the larger
        `negative` is, or the smaller `score_sum`.  None if that is not all that decides."""
        return None

    @classmethod
    def type_name(cls) -> str:
        """The rule's `type` in a rule file."""
        return str(get_args(cls.model_fields["type"].annotation)[0])

    @property
    def selection(self) -> Selection:
        """What the rule counts."""
        return replace(self.stream, events=self.events, min_novelty=self.min_novelty)

    @property
    def stream(self) -> Selection:
        """The whole stream that the rule looks at, counted as the rule counts."""
        return replace(self.feed, counted=self.count)

    @property
    def feed(self) -> Selection:
        """The documents that say whether the feed works: few of them are novel, or report an event of a rare
        type."""
        return Selection(self.sources, self.symbols, self.languages)

    @property
    def looks_at_few(self) -> bool:
        """Whether the rule selects what is rare, so that it is no sign of a feed that works."""
        return bool(self.events or self.min_novelty)

    @property
    def counts_stories(self) -> bool:
        """Whether the rule counts something else than texts."""
        return self.count is not Counted.TEXTS or self.min_voices > 1

    @property
    def uses_stories(self) -> bool:
        """Whether the rule needs to know the stories of documents."""
        return self.counts_stories or self.min_novelty > 0

    @property
    def looks_at_negatives(self) -> bool:
        """Whether the negative documents are what it is about; else all of them."""
        return False

    def counting_texts(self) -> Self:
        """The rule as it counts while stories are not known: each voice is at least one text."""
        fewest = max(self.min_documents, self.min_voices)
        return self.model_copy(update={"count": Counted.TEXTS, "min_voices": 1, "min_documents": fewest})

    @property
    def baseline_spec(self) -> BaselineSpec | None:
        """The history that the rule compares its window with, if any."""
        return None

    @property
    def compares_labels(self) -> bool:
        """Whether the rule compares what a model said with what is usual: that must be the same model."""
        return False

    @property
    def required_negatives(self) -> int:
        """With fewer negative documents than this there is nothing to report."""
        return 0

    @property
    def step_length(self) -> timedelta | None:
        """The length of the steps that the rule cuts its window into, if it does."""
        return None

    @property
    def false_page_budget(self) -> float:
        """How many pages a month the rule may send by chance alone, where it has such a limit."""
        return 0.0

    @property
    def can_fire_late(self) -> bool:
        """Whether late documents can raise an alert for a past window.  A rule with `for` cannot: how long
        the breach lasted is not known afterwards."""
        return not self.hold

    def watched_topics(self, all_topics: Sequence[str]) -> tuple[str, ...]:
        """The topics that the rule watches one by one; ALL_TOPICS stands for all of them together."""
        if self.topics == "each":
            return tuple(all_topics)
        return (ALL_TOPICS,) if self.topics == ALL_TOPICS else tuple(self.topics)

    @model_validator(mode="before")
    @classmethod
    def _entities_replace_topics(cls, settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        if "entities" not in settings:
            if "min_relevance" in settings:
                raise ValueError("min_relevance is the least relevance of an entity: it needs entities")
            return settings
        if not cls.watches_documents:
            raise ValueError(f"entities cannot be combined with {cls.type_name()}, which watches sources")
        for other in NOT_WITH_ENTITIES:
            if other in settings:
                raise ValueError(f"entities cannot be combined with {other}: leave one of them out")
        return {**cls.entity_defaults, **settings, "topics": ALL_TOPICS}

    @property
    def watched_entities(self) -> tuple[str, ...] | None:
        """The ids of the entities that a rule on entities names; None if it watches each."""
        return None if self.entities is None else self.entities.ids

    @property
    def scope_text(self) -> str:
        """What the rule watches, for people."""
        events = f", events {', '.join(self.events)}" if self.events else ""
        novelty = f", novelty from {self.min_novelty}" if self.min_novelty else ""
        counted = "" if self.count is Counted.TEXTS else f", counts {self.count}"
        topics = self.topics if isinstance(self.topics, str) else ", ".join(self.topics)
        watched = f"topics {topics}" if self.entities is None else f"entities {self.entities.text}"
        return f"{watched}{events}{novelty}{counted}"

    @property
    def noun(self) -> str:
        """What sentences call the things that the rule counts."""
        return nouns(self.count)

    def subject_text(self, subject: Subject) -> str:
        """What sentences call a topic or an entity that the rule watches, with the events that it counts."""
        return f"{subject.text} ({events_text(self.events)})" if self.events else subject.text

    @property
    def mentions(self) -> MentionSelection:
        """The mentions that a rule on entities counts."""
        kinds = tuple(kind.value for kind in self.kinds)
        return MentionSelection(self.watched_entities, self.min_relevance, kinds, self.selection)

    @field_validator("message")
    @classmethod
    def _message_renders(cls, message: str | None) -> str | None:
        if message is not None:
            template.render(message, template.EXAMPLE)
        return message

    @model_validator(mode="after")
    def _window_and_topics_are_usable(self) -> "Rule":
        if self.window <= NO_TIME:
            raise ValueError("window must be longer than 0s")
        if not self.topics or (isinstance(self.topics, tuple) and len(set(self.topics)) < len(self.topics)):
            raise ValueError("topics must be each, all, or a list that names each topic once")
        if self.entities is not None and self.entities.ids is None and self.looks_for_absence:
            raise ValueError(
                f"entities: each cannot be combined with {self.type_name()}, since most entities are not "
                "written about most of the time: name a watchlist or ids"
            )
        return self


def watched_name(watch: Watch) -> str:
    return "mean score" if watch == "mean_score" else "share of negatives"


def watched_value(watch: Watch, total: Aggregate) -> float:
    """The figure that a rule watches; 0 without documents."""
    return (total.mean if watch == "mean_score" else total.negative_share) or 0.0


def watched_sum(watch: Watch) -> SumField:
    """The sum that makes the figure what it is."""
    return "score_sum" if watch == "mean_score" else "negative"


def watched_text(watch: Watch, value: float) -> str:
    """The figure as operators read it: a score from -1 to 1, or a percentage."""
    return f"{value:.2f}" if watch == "mean_score" else f"{value:.0%}"


def mood_in_words(watch: Watch, alert: Alert, window: timedelta) -> str:
    """What a rule on the figure saw, such as "18 of 24 voices in 12 hours are negative (75%)"."""
    number, span = number_text(alert.n, alert.counted), span_text(window)
    if watch == "negative_share":
        return f"{round(alert.value * alert.n)} of {number} in {span} are negative ({alert.value:.0%})"
    mood = watched_text(watch, alert.value)
    return f"the mean mood of {number} in {span} is {mood} (-1 is all bad, 1 all good)"
