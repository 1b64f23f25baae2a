"""The network that a training run starts from: a trained model's part, or a bare encoder with new heads."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from models.data.dataset import Row
from models.errors import DataError, WeightsError
from models.inference.normalize import normal_form
from models.network import artifact
from models.network.classifier import AttentionClassifier, EmbeddingHead, EventHead
from models.network.info import EVENTS, PartInfo, read_info
from models.network.network import Network
from models.training.adapters import adapt
from models.training.embeddings import EMBEDDING_SIZE
from models.training.events import event_types
from models.training.options import TrainingOptions
from models.training.trimming import drop_layers, trim_vocabulary
from stream.domain.documents import SENTIMENTS, TASKS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """A network to train.

    `other_parts` are the parts for other languages, in the folder `other_parts_in`, that the new model takes
    over.  `size` says in words which layers and word vectors are kept.  `target_sentiment` says whether the
    head for the sentiment towards names is already trained.  `event_thresholds` are those of the events that
    it knows, and `event_temperature` is theirs.
    """

    network: Network
    other_parts: tuple[PartInfo, ...] = ()
    other_parts_in: Path | None = None
    size: str = ""
    target_sentiment: bool = False
    event_thresholds: Mapping[str, float] = field(default_factory=dict)
    event_temperature: float = 1.0


def load_start(options: TrainingOptions, rows: Sequence[Row]) -> Start:
    """Load, trim and freeze the network to train; `rows` are all rows with labels.

    Raises WeightsError and DataError.
    """
    base = Path(options.base)
    if (base / "model.json").is_file():
        start = _from_trained_model(options, base, rows)
    else:
        start = _from_bare_encoder(options, rows)
    classifier = start.network.classifier
    if options.embeddings and classifier.embedding is None:
        width = int(classifier.encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
        classifier.embedding = EmbeddingHead(width, EMBEDDING_SIZE)
    start = _trim(options, start, [row.text for row in rows])
    encoder: Any = start.network.classifier.encoder
    if options.frozen:
        encoder.embeddings.requires_grad_(False)
        for layer in list(encoder.encoder.layer)[: options.frozen]:
            layer.requires_grad_(False)
    start.network.tokenizer.no_padding()
    start.network.tokenizer.enable_truncation(options.max_tokens)
    steps = len(rows) // options.fit.batch_size * options.fit.epochs
    start.network.classifier.encoder = adapt(encoder, options.method, options.rank, steps)
    return start


def _trim(options: TrainingOptions, start: Start, texts: Sequence[str]) -> Start:
    """Drop layers and word vectors as the options say."""
    network = start.network
    encoder: Any = network.classifier.encoder
    size = [f"{encoder.config.num_hidden_layers} layers"]
    if options.layers:
        size = [f"layers {', '.join(map(str, drop_layers(encoder, options.layers)))}"]
    if options.vocabulary:
        tokenizer, ids = trim_vocabulary(encoder, network.tokenizer, texts, options.vocabulary)
        network = replace(network, tokenizer=tokenizer, pad_id=encoder.config.pad_token_id)
        size.append(f"{len(ids)} word vectors")
    return replace(start, network=network, size=", ".join(size))


def _from_trained_model(options: TrainingOptions, base: Path, rows: Sequence[Row]) -> Start:
    info = read_info(base)
    part_info = next((part for part in info.parts if options.languages[0] in part.languages), None)
    if part_info is None:
        raise WeightsError(
            f"{base} reads {', '.join(info.languages)}, not {options.languages[0]}: choose another base "
            "or another --language"
        )
    network = artifact.load_part(base, part_info, info.labels, hugging_face=True).network
    network = _with_new_events(network, event_types(rows))
    labels = {task: label_names(rows, task, info.labels[task]) for task in TASKS}
    others = tuple(other for other in info.parts if other is not part_info)
    if labels != info.labels:
        log.warning(
            "the rows have topics that %s does not know: its topic head learns them, and the parts for other "
            "languages are left out",
            base,
        )
        network, others = _with_new_topics(network, labels, part_info.pooling), ()
    return Start(
        network,
        others,
        base,
        target_sentiment=part_info.target_sentiment,
        event_thresholds=part_info.event_thresholds,
        event_temperature=part_info.temperature.get(EVENTS, 1.0),
    )


def _with_new_topics(network: Network, labels: dict[str, tuple[str, ...]], pooling: str) -> Network:
    """The same network with a topic head that knows these topics too; what it has learned is kept."""
    encoder: Any = network.classifier.encoder
    classifier = AttentionClassifier(
        encoder,
        int(encoder.config.hidden_size),
        labels,
        pooling,
        event_types=len(network.event_types),
        target_head=network.classifier.target.kind,
    )
    classifier.heads["sentiment"] = network.classifier.heads["sentiment"]
    topics: Any = classifier.heads["topic"]
    before: Any = network.classifier.heads["topic"]
    topics.pooling = before.pooling
    with torch.no_grad():
        for parameter, learned in zip(topics.output.parameters(), before.output.parameters(), strict=True):
            parameter[: len(learned)] = learned
    classifier.target = network.classifier.target
    classifier.events = network.classifier.events
    classifier.embedding = network.classifier.embedding
    return replace(network, classifier=classifier, labels=labels)


def _with_new_events(network: Network, types: Sequence[str]) -> Network:
    """The same network with a head that knows these types of events too; what it has learned is kept."""
    known = network.event_types
    new = tuple(name for name in types if name not in known)
    if not new:
        return network
    encoder: Any = network.classifier.encoder
    head, before = (
        EventHead(int(encoder.config.hidden_size), len(known) + len(new)),
        network.classifier.events,
    )
    if before is not None:
        with torch.no_grad():
            for parameter, learned in zip(head.parameters(), before.parameters(), strict=True):
                parameter[: len(known)] = learned
    network.classifier.events = head
    return replace(network, event_types=(*known, *new))


def _from_bare_encoder(options: TrainingOptions, rows: Sequence[Row]) -> Start:
    try:
        tokenizer = AutoTokenizer.from_pretrained(options.base, trust_remote_code=False)
        encoder = AutoModel.from_pretrained(options.base, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise WeightsError(f"base encoder {options.base!r} cannot be loaded: {error}") from error
    encoder = artifact.drop_pooler(encoder.float())
    fast = tokenizer.backend_tokenizer
    fast.normalizer = normal_form(fast)
    model_folders = [folder for folder in (*options.teachers, options.join) if folder]
    topics = read_info(model_folders[0]).labels if model_folders else {}
    labels = {task: label_names(rows, task, topics.get(task, ())) for task in TASKS}
    types = event_types(rows)
    classifier = AttentionClassifier(
        encoder, int(encoder.config.hidden_size), labels, options.pooling, event_types=len(types)
    )
    network = Network(classifier, fast, tokenizer.pad_token_id or 0, labels, types)
    if not options.join:
        return Start(network)
    parts = read_info(options.join).parts
    others = tuple(part for part in parts if not set(part.languages) & set(options.languages))
    return Start(network, others, options.join)


def label_names(rows: Sequence[Row], task: str, existing: Sequence[str]) -> tuple[str, ...]:
    """The labels of a task: the three sentiments; the existing topics, then new ones in alphabetical order.

    Raises DataError if there is no topic.
    """
    if task == "sentiment":
        return SENTIMENTS
    names = {name for row in rows if task in row.labels for name in row.labels[task].names}
    topics = (*existing, *sorted(names - set(existing)))
    if not topics:
        raise DataError(f"no row has a {task} label: give files for both topic and sentiment")
    return topics
