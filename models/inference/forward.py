"""The forward pass: batches of tokenised texts through encoder and heads, to calibrated probabilities."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.backends.packed import ROW_WIDTHS
from models.backends.runtime import Runtime
from models.inference.batching import packed_batches, token_batches
from models.inference.metrics import ModelMetrics
from models.inference.tokenize import TokenizedText
from models.network.calibration import softmax
from models.network.classifier import Inputs
from stream.domain.errors import InferenceError

# Tokens of one batch where the settings leave it open.
BATCH_TOKENS = {"cpu": 2048, "cuda": 32768}
# A text whose two likeliest labels differ by less than this in probability is run again by the more exact
# encoder, if there is one: 8 bits may not tell which of the two is likelier.
RECHECK_MARGIN = 0.02
# Digits of probabilities and scores.  A float32 holds no more: further ones are noise that fills messages.
DECIMALS = 8


@dataclass(frozen=True, slots=True)
class TextOutput:
    """The network's output for one text.

    `probabilities` are [labels] for each task.  `contributions` hold for each task one array [tokens] a
    window: how much each token contributed to the winning label (Head.with_contributions).  `margin` is the
    smallest difference, over the tasks, between the probabilities of the two likeliest labels.
    """

    probabilities: dict[str, np.ndarray]
    contributions: dict[str, list[np.ndarray]]
    margin: float


class ForwardPass:
    """Runs tokenised texts through the network in batches.  Any thread may use it."""

    def __init__(
        self, runtime: Runtime, version: str, metrics: ModelMetrics, max_batch_tokens: int = 0
    ) -> None:
        """`max_batch_tokens` limits the tokens of a batch; 0 takes the default of the device."""
        self._runtime = runtime
        self._version = version
        self._metrics = metrics
        self._budget = max_batch_tokens or BATCH_TOKENS[runtime.device.type]

    def outputs(self, texts: Sequence[TokenizedText]) -> Iterator[tuple[TokenizedText, TextOutput]]:
        """Each text once with its output, in the order of the batches.

        Raises InferenceError if a pass fails or a probability is not finite.
        """
        close_calls = []
        for batch in self._batches(texts):
            for text, output in zip(batch, self._run(batch), strict=True):
                if output.margin < RECHECK_MARGIN and self._runtime.encoder(text.part).recheck is not None:
                    close_calls.append(text)
                else:
                    yield text, output
        for batch in self._batches(close_calls):
            yield from zip(batch, self._run(batch, recheck=True), strict=True)

    def _batches(self, texts: Sequence[TokenizedText]) -> Iterator[list[TokenizedText]]:
        """Texts of one part that go through the network together."""
        by_part: dict[str, list[TokenizedText]] = {}
        for text in texts:
            by_part.setdefault(text.part.info.folder, []).append(text)
        for own in by_part.values():
            if self._runtime.encoder(own[0].part).packed:
                groups = packed_batches([text.tokens for text in own], self._budget, ROW_WIDTHS[0])
            else:
                shapes = [(len(text.windows), len(text.windows[0])) for text in own]
                groups = token_batches(shapes, self._budget)
            yield from ([own[i] for i in group] for group in groups)

    @torch.inference_mode()
    def _run(self, batch: Sequence[TokenizedText], recheck: bool = False) -> list[TextOutput]:
        """One pass over texts of one part."""
        started = time.perf_counter()
        part = batch[0].part
        runs = self._runtime.encoder(part)
        inputs = batch_inputs(batch) if runs.packed else batch_inputs(batch).to(self._runtime.device)
        classifier = part.network.classifier
        try:
            hidden = classifier.encode(inputs, encoder=runs.recheck if recheck else runs.encoder)
            heads = classifier.with_contributions(hidden)
        except (RuntimeError, MemoryError) as error:
            reason = str(error) or type(error).__name__
            raise InferenceError(f"{self._version}: {reason}") from error
        outputs = self._by_text(batch, heads, inputs.ids.shape[1])
        windows, tokens = sum(len(text.windows) for text in batch), sum(text.tokens for text in batch)
        self._metrics.observe_forward(len(batch), windows, tokens, time.perf_counter() - started)
        return outputs

    def _by_text(
        self, batch: Sequence[TokenizedText], heads: dict[str, tuple[Tensor, Tensor]], width: int
    ) -> list[TextOutput]:
        """One output a text from logits [texts, labels] and contributions [texts, windows x width]."""
        probabilities = {
            task: calibrated(logits, batch[0], task, self._version) for task, (logits, _) in heads.items()
        }
        contributions = {task: values.cpu().numpy() for task, (_, values) in heads.items()}
        margins = np.min([margin(values) for values in probabilities.values()], axis=0)
        return [
            TextOutput(
                {task: values[row] for task, values in probabilities.items()},
                {task: split_windows(values[row], text, width) for task, values in contributions.items()},
                margins[row],
            )
            for row, text in enumerate(batch)
        ]


def batch_inputs(batch: Sequence[TokenizedText]) -> Inputs:
    """The windows of texts of one part as the network reads them, on the CPU."""
    windows = [window for text in batch for window in text.windows]
    counts = [len(text.windows) for text in batch]
    return batch[0].part.network.inputs(windows, None if max(counts) == 1 else counts)


def calibrated(logits: Tensor, text: TokenizedText, task: str, version: str) -> np.ndarray:
    """Calibrated probabilities [texts, labels] of a task from logits, for texts of the part of `text`.

    Raises InferenceError if one is not finite.
    """
    temperature = text.part.info.temperature.get(task, 1.0)
    with np.errstate(invalid="ignore", over="ignore"):
        probabilities = softmax(logits.double().cpu().numpy() / temperature)
    if not np.isfinite(probabilities).all():
        raise InferenceError(f"{version}: {task} logits are not finite")
    return probabilities.round(DECIMALS)


def margin(probabilities: np.ndarray) -> np.ndarray:
    """From [texts, labels], the difference between the two largest of each text; 1 with a single label."""
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities))
    ordered = np.sort(probabilities, axis=1)
    difference: np.ndarray = ordered[:, -1] - ordered[:, -2]
    return difference


def split_windows(values: np.ndarray, text: TokenizedText, width: int) -> list[np.ndarray]:
    """Values [windows x width] of one text as one array [tokens] a window, without padding."""
    return [values[i * width : i * width + len(window)] for i, window in enumerate(text.windows)]
