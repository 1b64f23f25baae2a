"""Texts in, predictions out: prepare (tokenise), forward (the network), finish (labels, evidence)."""

import gc
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress
from operator import not_
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn

from models.backends.device import compute_device, compute_dtype
from models.backends.native.encoders import AmxEncoder, Int8Encoder, NativeEncoder
from models.backends.onnx import ENCODER, EXPORTED, OnnxEncoder
from models.backends.packed import ROW_WIDTHS, PackedEncoder
from models.errors import ModelError, WeightsError
from models.inference import evidence, heap, language, normalize
from models.inference.batching import packed_batches, token_batches
from models.inference.cache import Repeats
from models.inference.drift import Profiler, drift
from models.inference.metrics import ModelMetrics
from models.network import artifact
from models.network.calibration import softmax
from models.network.classifier import AttentionClassifier, Inputs, span_mask
from models.network.registry import resolve
from models.settings import ModelSettings
from stream.domain.documents import Prediction
from stream.domain.errors import InferenceError

log = logging.getLogger(__name__)

# More of a text than this for each token the model may read is not even looked at.
CHARACTERS_PER_TOKEN = 40
# Neighbouring windows of a long text share this part of their tokens, so that no phrase is torn.
OVERLAP = 4
# Texts that one thread takes through all three steps; fewer where all of them are shared out sooner.
CHUNK = 256
MOST_LANES = 4
BATCH_TOKENS = {"cpu": 2048, "cuda": 32768}
SMALLEST_CHUNK = 16
# Encoders that take texts of unequal length without padding.
PACKING = (PackedEncoder, NativeEncoder)
NATIVE: dict[str, type[NativeEncoder]] = {kind.backend: kind for kind in (AmxEncoder, Int8Encoder)}
# Where two labels are so close that 8 bits may not tell which is the likelier, more bits do.
CLOSE = 0.02
# The tokenizers' own switch, read at each call.
TOKENIZER_THREADS = "TOKENIZERS_PARALLELISM"
# Of probabilities and scores: a float32 holds no more, and noise would be a fifth of every message.
DECIMALS = 8
# Drift is told from about so many texts, and not before a tenth of them came.
DRIFT_MEMORY = 5000


@dataclass(frozen=True, slots=True)
class Prepared:
    """One tokenised text: its place in the call, its language and part, and its windows.

    `truncated` says that even all windows together did not hold the whole text.
    """

    at: int
    text: str
    lang: str
    part: artifact.Part
    windows: tuple[Encoding, ...]
    truncated: bool

    @property
    def tokens(self) -> int:
        return sum(len(window) for window in self.windows)

    @property
    def unknown(self) -> int:
        """How many tokens the vocabulary could not spell."""
        return sum(window.ids.count(self.part.unknown_id) for window in self.windows)


@dataclass(frozen=True, slots=True)
class TextOutput:
    """What the network said of one text: per task probabilities [labels] and what carried the label.

    `carried` is one array [tokens] for each window, padding cut off (Head.explained); `lead` is the least
    by which a label is likelier than the next one.
    """

    probabilities: dict[str, np.ndarray]
    carried: dict[str, list[np.ndarray]]
    lead: float


class Engine:
    """A loaded classifier on its device.  Any thread may call `classify`, which has threads of its own.

    Of a long list of texts several threads take a part each through all three steps, so that one tokenises
    or names words while another one is in the network.
    """

    def __init__(
        self,
        model: artifact.LoadedModel,
        settings: ModelSettings,
        metrics: ModelMetrics | None = None,
        encoders: Mapping[str, nn.Module] | None = None,
    ) -> None:
        """`encoders` run in place of the parts' own, by the part's folder."""
        self.info = model.info
        self.settings = settings
        self.device = compute_device(settings.device)
        native = NATIVE.get(settings.backend)
        self.dtype = (
            native.dtype
            if native and settings.dtype == "auto"
            else compute_dtype(settings.dtype, self.device)
        )
        self._encoders = dict(encoders or {})
        self._exact: dict[str, nn.Module] = {}
        self._for_plain_texts: dict[str, Tokenizer] = {}
        self._parts: dict[str, artifact.Part] = {}
        for part in model.parts:
            own = part.classifier.to(self.device, self.dtype).eval().encoder
            if native:
                poolings = {task: head.pooling for task, head in part.classifier.heads.items()}
                encoder = native(own, self.device, self.dtype, poolings)
                self._encoders[part.info.folder] = encoder
                own.encoder = nn.Identity()  # memory that is not needed a second time
                if isinstance(encoder, Int8Encoder):
                    self._exact[part.info.folder] = encoder.exact()
            elif settings.backend in ("auto", "packed") and PackedEncoder.knows(own):
                self._encoders[part.info.folder] = PackedEncoder(own, self.device, self.dtype)
            part.tokenizer.no_padding()
            part.tokenizer.enable_truncation(part.info.max_tokens, stride=part.info.max_tokens // OVERLAP)
            if any(normalize.is_plain(canary.text) for canary in part.info.canaries):
                self._for_plain_texts[part.info.folder] = normalize.for_plain_texts(part.tokenizer)
            self._parts |= dict.fromkeys(part.info.languages, part)
        self._metrics = metrics or ModelMetrics()
        self._metrics.describe(self.info, self.device.type, self.number_type)
        self._lately = {
            part.info.folder: Profiler(self.info.labels, DRIFT_MEMORY)
            for part in model.parts
            if part.info.reference is not None
        }
        self._repeats = Repeats(settings.remembered_texts)
        self._remembering = Lock()
        self.budget = settings.max_batch_tokens or BATCH_TOKENS[self.device.type]
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.lanes, threads = lanes(settings, self.device)
        if self.lanes > 1:
            # Each lane tokenises its own texts: more threads within would only take its turn.
            os.environ.setdefault(TOKENIZER_THREADS, "false")
        self._pool = ThreadPoolExecutor(self.lanes, "classify", torch.set_num_threads, (threads,))

    @classmethod
    def try_out(cls, folder: Path) -> None:
        """Load the model of a folder: its checksums and canaries are tried.  Raises WeightsError."""
        cls.load(ModelSettings(weights=folder))

    @property
    def number_type(self) -> str:
        """What its matrices are multiplied in."""
        return "int8" if self._exact else str(self.dtype).removeprefix("torch.")

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics it tells apart."""
        return self.info.labels["topic"]

    def part(self, lang: str) -> artifact.Part:
        """What reads that language."""
        return self._parts[lang]

    def network(self, part: artifact.Part) -> AttentionClassifier:
        """The whole network of a part in torch.  Raises ModelError where its encoder runs elsewhere alone."""
        if self.settings.backend in NATIVE:
            raise ModelError(
                f"models.backend is {self.settings.backend}, which can only judge: set it to torch to explain"
            )
        return part.classifier

    @property
    def described(self) -> str:
        """Its version and where it runs."""
        return f"{self.info.version} on {self.device.type}"

    @classmethod
    def load(cls, settings: ModelSettings, metrics: ModelMetrics | None = None) -> "Engine":
        """Raises WeightsError where the folder of `settings.weights` cannot be used, or its canaries fail."""
        artifact.quiet_libraries()
        heap.tune()
        folder = resolve(settings.weights)
        language.load()
        model = artifact.load(folder)
        encoders = {}
        if settings.backend in EXPORTED:
            for part in model.parts:
                path = folder / part.info.folder / ENCODER
                encoders[part.info.folder] = OnnxEncoder(path, settings.backend, settings.threads)
            settings = settings.model_copy(update={"dtype": "float32", "device": "cpu"})
        engine = cls(model, settings, metrics, encoders)
        engine.check_canaries()
        # What only the loading needed goes back to the system.
        gc.collect()
        heap.give_back()
        return engine

    def check_canaries(self) -> None:
        """Judge the model's own plain sentences.  Raises WeightsError where a label is not the known one."""
        for part in self.info.parts:
            texts = [canary.text for canary in part.canaries]
            answers = self._classify(texts, [part.languages[0]] * len(texts), observed=False)
            for canary, given in zip(part.canaries, answers, strict=True):
                for task, wanted in canary.labels.items():
                    if getattr(given, task) != wanted:
                        raise WeightsError(
                            f"{self.settings.weights}: {self.info.version} calls the {task} of its canary "
                            f"{canary.text!r} {getattr(given, task)}, not {wanted}: weights and labels do "
                            "not belong together; restore the folder or promote another version"
                        )

    def classify(
        self, texts: Sequence[str], languages: Sequence[str | None] | None = None
    ) -> list[Prediction]:
        """A prediction for each text, in order.

        `languages` are the feeds' own claims (ISO 639-1, None where unknown).  A text that was judged
        lately, or that comes twice here, goes through the network once.  Raises InferenceError
        where the network's answer for some text is not finite: no label is invented.
        """
        keys = list(map(Repeats.key, texts, languages or [None] * len(texts)))
        with self._remembering:
            known = {key: self._repeats.get(key) for key in keys}
        new = {key: at for at, key in reversed(list(enumerate(keys))) if known[key] is None}
        places = sorted(new.values())
        claimed = [keys[at][1] for at in places]
        judged = self._classify([texts[at] for at in places], claimed, observed=True)
        with self._remembering:
            for at, given in zip(places, judged, strict=True):
                known[keys[at]] = given
                self._repeats.put(keys[at], given)
        self._metrics.observe_repeats(len(places), len(texts) - len(places))
        return [prediction for key in keys if (prediction := known[key]) is not None]

    def _classify(
        self, texts: Sequence[str], languages: Sequence[str | None], observed: bool
    ) -> list[Prediction]:
        # As many chunks for each thread, and all of one size, so that none has the last one alone.
        rounds = -(-len(texts) // (self.lanes * CHUNK))
        size = max(SMALLEST_CHUNK, -(-len(texts) // (self.lanes * max(rounds, 1))))
        chunks = [(texts[at : at + size], languages[at : at + size]) for at in range(0, len(texts), size)]
        judged = list(self._pool.map(self._chunk, *zip(*chunks, strict=True))) if chunks else []
        if observed:
            with self._remembering:
                for prepared, predictions in judged:
                    self._observe(prepared, predictions)
        return [prediction for _, predictions in judged for prediction in predictions]

    def _chunk(
        self, texts: Sequence[str], languages: Sequence[str | None]
    ) -> tuple[list[Prepared], list[Prediction]]:
        """Take some texts through all three steps."""
        predictions: list[Prediction | None] = [None] * len(texts)
        prepared = self.prepare(texts, languages, predictions)
        for item, judged in self.judged(prepared):
            predictions[item.at] = self.finish(item, judged)
        return prepared, [prediction for prediction in predictions if prediction is not None]

    def prepare(
        self,
        texts: Sequence[str],
        languages: Sequence[str | None],
        predictions: list[Prediction | None],
    ) -> list[Prepared]:
        """Tokenise what the model can read; what it cannot gets its prediction here."""
        known: dict[str, list[tuple[int, str, bool]]] = {}
        for at, (whole, claimed) in enumerate(zip(texts, languages, strict=True)):
            lang = language.detect(whole, claimed)
            part = self._parts.get(lang or "")
            if lang is None or part is None:
                predictions[at] = Prediction(model=self.info.version, lang=lang)
                continue
            longest = CHARACTERS_PER_TOKEN * part.info.max_tokens * self.settings.max_windows
            known.setdefault(lang, []).append((at, whole[:longest], len(whole) > longest))
        prepared = []
        for lang, items in known.items():
            part = self._parts[lang]
            for (at, text, cut), encoding in zip(
                items, self._encodings(part, [text for _, text, _ in items]), strict=True
            ):
                windows = (encoding, *encoding.overflowing)
                kept = windows[: self.settings.max_windows]
                prepared.append(Prepared(at, text, lang, part, kept, cut or len(kept) < len(windows)))
        return prepared

    def _encodings(self, part: artifact.Part, texts: Sequence[str]) -> Iterator[Encoding]:
        quick = self._for_plain_texts.get(part.info.folder)
        if quick is None:
            return iter(part.tokenizer.encode_batch(texts))
        plain = list(map(normalize.is_plain, texts))
        quickly = iter(quick.encode_batch(list(compress(texts, plain))))
        others = iter(part.tokenizer.encode_batch(list(compress(texts, map(not_, plain)))))
        return (next(quickly if is_plain else others) for is_plain in plain)

    def judged(self, prepared: Sequence[Prepared]) -> Iterator[tuple[Prepared, TextOutput]]:
        """Each once.  Where two labels are too close for the encoder, by the more exact one there is."""
        close = []
        for batch in self.batches(prepared):
            for item, judged in zip(batch, self.forward(batch), strict=True):
                if judged.lead < CLOSE and item.part.info.folder in self._exact:
                    close.append(item)
                else:
                    yield item, judged
        for batch in self.batches(close):
            yield from zip(batch, self.forward(batch, exactly=True), strict=True)

    def batches(self, prepared: Sequence[Prepared]) -> list[list[Prepared]]:
        """Texts of one part that go through the network together."""
        found = []
        for part in dict.fromkeys(item.part.info.folder for item in prepared):
            own = [item for item in prepared if item.part.info.folder == part]
            if isinstance(self._encoders.get(part), PACKING):
                groups = packed_batches([item.tokens for item in own], self.budget, ROW_WIDTHS[0])
            else:
                shapes = [(len(item.windows), len(item.windows[0])) for item in own]
                groups = token_batches(shapes, self.budget)
            found += [[own[i] for i in group] for group in groups]
        return found

    def inputs(self, batch: Sequence[Prepared]) -> Inputs:
        """The windows of a batch as the part's own encoder reads them, on its device."""
        return _inputs(batch).to(self.device)

    @torch.inference_mode()
    def forward(self, batch: Sequence[Prepared], exactly: bool = False) -> list[TextOutput]:
        """One pass of the network over texts that share a batch."""
        started = time.perf_counter()
        part = batch[0].part
        encoder = (self._exact if exactly else self._encoders).get(part.info.folder)
        # A packing encoder lays the tokens out on the CPU.
        inputs = _inputs(batch) if isinstance(encoder, PACKING) else self.inputs(batch)
        try:
            output = part.classifier.explained(part.classifier.encode(inputs, encoder=encoder))
        except (RuntimeError, MemoryError) as error:
            said = str(error) or type(error).__name__
            raise InferenceError(f"{self.info.version}: {said}") from error
        probabilities = {
            task: self._probabilities(task, logits, batch) for task, (logits, _) in output.items()
        }
        carried = {task: values.cpu().numpy() for task, (_, values) in output.items()}
        leads = np.min([lead(values) for values in probabilities.values()], axis=0)
        width = inputs.ids.shape[1]
        windows, tokens = sum(len(item.windows) for item in batch), sum(item.tokens for item in batch)
        self._metrics.observe_forward(len(batch), windows, tokens, time.perf_counter() - started)
        return [
            TextOutput(
                {task: values[row] for task, values in probabilities.items()},
                {task: by_window(values[row], item, width) for task, values in carried.items()},
                leads[row],
            )
            for row, item in enumerate(batch)
        ]

    def _probabilities(self, task: str, logits: Tensor, batch: Sequence[Prepared]) -> np.ndarray:
        """Calibrated probabilities [texts, labels].  Raises InferenceError where they are not finite."""
        temperature = batch[0].part.info.temperature.get(task, 1.0)
        with np.errstate(invalid="ignore", over="ignore"):
            probabilities = softmax(logits.double().cpu().numpy() / temperature)
        if not np.isfinite(probabilities).all():
            raise InferenceError(f"{self.info.version}: {task} logits are not finite")
        return probabilities.round(DECIMALS)

    def finish(self, item: Prepared, judged: TextOutput) -> Prediction:
        """Name the labels and the words that carried them."""
        return self._prediction(item, judged.probabilities, judged.carried)

    def _prediction(
        self,
        item: Prepared,
        probabilities: Mapping[str, np.ndarray],
        carried: Mapping[str, Sequence[np.ndarray]],
        target: str | None = None,
    ) -> Prediction:
        named = {
            task: dict(zip(self.info.labels[task], values.tolist(), strict=True))
            for task, values in probabilities.items()
        }
        best = {task: max(values, key=values.__getitem__) for task, values in named.items()}
        pieces = evidence.pieces(item.text, item.windows)
        return Prediction(
            model=self.info.version,
            lang=item.lang,
            topic=best.get("topic"),
            sentiment=best["sentiment"],
            score=round(named["sentiment"]["positive"] - named["sentiment"]["negative"], DECIMALS),
            probabilities=named,
            evidence=tuple(
                span
                for task, values in carried.items()
                for span in evidence.spans(task, item.text, pieces, values, self.settings.evidence_words)
            ),
            truncated=item.truncated,
            windows=len(item.windows),
            certain=all(self._is_certain(item.part, task, named[task]) for task in named),
            target=target,
        )

    def _is_certain(self, part: artifact.Part, task: str, named: Mapping[str, float]) -> bool:
        wanted = self.settings.certain_from
        threshold = part.info.certain_from.get(task, 0.0) if wanted is None else wanted
        return max(named.values()) >= threshold

    def judge_targets(
        self, text: str, targets: Sequence[tuple[int, int]], claimed: str | None = None
    ) -> list[Prediction]:
        """The sentiment towards each stretch (start, end) of the text, all from one encoder pass.

        A target outside what the model can read, or without a word in it, is unsupported: no label.  So are
        all targets in a language for which ModelInfo.target_sentiment_error gives a reason.
        """
        nothing: list[Prediction | None] = [None]
        prepared = self.prepare([text], [claimed], nothing)
        empty = Prediction(model=self.info.version, lang=prepared[0].lang if prepared else None)
        if not prepared or not targets or not prepared[0].part.info.target_sentiment:
            return [empty] * len(targets)
        item = prepared[0]
        width = max(len(window) for window in item.windows)
        masks = [
            [inside for window in item.windows for inside in _padded(span_mask(window, *target), width)]
            for target in targets
        ]
        found = [at for at, mask in enumerate(masks) if any(mask)]
        answers = [empty] * len(targets)
        if found:
            values, attention = self._forward_targets(item, [masks[at] for at in found])
            for row, at in enumerate(found):
                start, end = targets[at]
                carried = {"sentiment": by_window(attention[row], item, width)}
                answers[at] = self._prediction(item, {"sentiment": values[row]}, carried, text[start:end])
        return answers

    @torch.inference_mode()
    def _forward_targets(
        self, item: Prepared, masks: Sequence[Sequence[bool]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities [targets, sentiments] and attention [targets, tokens] from one pass."""
        classifier = self.network(item.part)
        hidden = classifier.encode(self.inputs([item]))
        which = torch.zeros(len(masks), dtype=torch.long, device=self.device)
        logits, weight = classifier.target(hidden, which, torch.tensor(masks, device=self.device))
        return self._probabilities("sentiment", logits, [item]), weight.float().cpu().numpy()

    def _observe(self, prepared: Sequence[Prepared], predictions: Sequence[Prediction | None]) -> None:
        """Tell the metrics how far what arrives has drifted from what the model was trained on."""
        for folder, profiler in self._lately.items():
            own = [(item, predictions[item.at]) for item in prepared if item.part.info.folder == folder]
            if not own:
                continue
            part = own[0][0].part
            sizes = [(item.tokens, item.unknown) for item, _ in own]
            answers = {
                task: [
                    (getattr(given, task), max(given.probabilities[task].values()))
                    for _, given in own
                    if given is not None
                ]
                for task in self.info.labels
            }
            profiler.add(sizes, answers)
            if part.info.reference is not None and profiler.texts >= DRIFT_MEMORY / 10:
                self._metrics.observe_drift(folder, drift(part.info.reference, profiler.profile()))


def lanes(settings: ModelSettings, device: torch.device) -> tuple[int, int]:
    """How many threads take texts through the network at the same time, and the CPU threads of each.

    Two passes of one thread each do more than one pass of two threads, which wait for each other at the end
    of every step.
    """
    threads = settings.threads or torch.get_num_threads()
    if settings.backend in EXPORTED:
        return 1, threads
    count = MOST_LANES if device.type == "cuda" else min(MOST_LANES, threads)
    return count, max(1, threads // count)


def _inputs(batch: Sequence[Prepared]) -> Inputs:
    windows = [window for item in batch for window in item.windows]
    counts = [len(item.windows) for item in batch]
    return Inputs.of(windows, batch[0].part.pad_id, None if max(counts) == 1 else counts)


def lead(probabilities: np.ndarray) -> np.ndarray:
    """Of [texts, labels]: by how much each text's likeliest label is likelier than the next one."""
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities))
    ordered = np.sort(probabilities, axis=1)
    by: np.ndarray = ordered[:, -1] - ordered[:, -2]
    return by


def by_window(values: np.ndarray, item: Prepared, width: int) -> list[np.ndarray]:
    """Values [windows x width] of one text as one array a window, without padding."""
    return [values[i * width : i * width + len(window)] for i, window in enumerate(item.windows)]


def _padded(mask: list[bool], width: int) -> list[bool]:
    return mask + [False] * (width - len(mask))
