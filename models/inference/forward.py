"""The forward pass: batches of tokenised texts through encoder and heads, to calibrated probabilities."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from models.backends.packed import ROW_WIDTHS
from models.backends.runtime import Runtime
from models.inference.batching import packed_batches, token_batches
from models.inference.long_texts import weigh
from models.inference.metrics import ModelMetrics
from models.inference.outputs import (
    TargetOutput,
    TextOutput,
    calibrated,
    event_probabilities,
    margin,
    split_windows,
)
from models.inference.targets import target_outputs
from models.inference.tokenize import TokenizedText
from models.network.classifier import Hidden, Inputs
from stream.domain.errors import InferenceError

# Tokens of one batch where the settings leave it open.
BATCH_TOKENS = {"cpu": 2048, "cuda": 32768}
# A text whose two likeliest labels differ by less than this in probability is run again by the more exact
# encoder, if there is one: 8 bits may not tell which of the two is likelier.
RECHECK_MARGIN = 0.02


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

    @torch.inference_mode()
    def hidden(self, texts: Sequence[TokenizedText]) -> Iterator[tuple[list[TokenizedText], Hidden]]:
        """The token vectors of the texts, in batches of texts of one part."""
        for batch in self._batches(texts):
            yield batch, self._encode(batch)

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
        classifier = batch[0].part.network.classifier
        try:
            hidden, news = weigh(self._encode(batch, recheck), batch)
            heads = classifier.with_contributions(hidden)
            targets = target_outputs(classifier, hidden, batch, self._version)
            events = None if classifier.events is None else classifier.events(hidden)
            embeddings = None if classifier.embedding is None else classifier.embedding(hidden).cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            reason = str(error) or type(error).__name__
            raise InferenceError(f"{self._version}: {reason}") from error
        outputs = self._by_text(
            batch, heads, targets, events, max(len(window) for text in batch for window in text.windows)
        )
        outputs = [
            replace(output, news=share, embedding=None if embeddings is None else embeddings[row])
            for row, (output, share) in enumerate(zip(outputs, news, strict=True))
        ]
        windows, tokens = sum(len(text.windows) for text in batch), sum(text.tokens for text in batch)
        self._metrics.observe_forward(len(batch), windows, tokens, time.perf_counter() - started)
        return outputs

    def _encode(self, batch: Sequence[TokenizedText], recheck: bool = False) -> Hidden:
        part = batch[0].part
        runs = self._runtime.encoder(part)
        inputs = batch_inputs(batch) if runs.packed else batch_inputs(batch).to(self._runtime.device)
        return part.network.classifier.encode(inputs, encoder=runs.recheck if recheck else runs.encoder)

    def _by_text(
        self,
        batch: Sequence[TokenizedText],
        heads: dict[str, tuple[Tensor, Tensor]],
        targets: list[list[TargetOutput | None]],
        events: Tensor | None,
        width: int,
    ) -> list[TextOutput]:
        """One output a text from logits [texts, labels] and contributions [texts, windows x width].

        `events` are logits [texts, types].
        """
        probabilities = {
            task: calibrated(logits, batch[0], task, self._version) for task, (logits, _) in heads.items()
        }
        contributions = {task: values.cpu().numpy() for task, (_, values) in heads.items()}
        if events is None:
            events = torch.empty(len(batch), 0)
        of_events = event_probabilities(events, batch[0], self._version)
        margins = np.min([margin(values) for values in probabilities.values()], axis=0)
        return [
            TextOutput(
                {task: values[row] for task, values in probabilities.items()},
                {task: split_windows(values[row], text, width) for task, values in contributions.items()},
                targets[row],
                min([margins[row], *(target.margin for target in targets[row] if target)]),
                of_events[row],
            )
            for row, text in enumerate(batch)
        ]


def batch_inputs(batch: Sequence[TokenizedText]) -> Inputs:
    """The windows of texts of one part as the network reads them, on the CPU."""
    windows = [window for text in batch for window in text.windows]
    counts = [len(text.windows) for text in batch]
    return batch[0].part.network.inputs(windows, None if max(counts) == 1 else counts)
