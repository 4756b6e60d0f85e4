"""The peer of mlm_throughput.py: transformers' BertForMaskedLM under its own Trainer, at its best settings."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging


@dataclass(frozen=True)
class Shape:
    """Of the encoder both sides train."""

    vocab_size: int
    width: int
    depth: int
    heads: int
    seq_len: int


class Clock(TrainerCallback):
    """Counts real tokens and seconds from the end of the warm-up to the end of the last step."""

    def __init__(self, warm_steps: int, seconds: float) -> None:
        self.warm_steps, self.wanted = warm_steps, seconds
        self.tokens = 0
        self.started = self.ended = 0.0
        self.counting = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The library's hook after an optimiser step."""
        now = time.perf_counter()
        if state.global_step == self.warm_steps:
            self.started, self.counting, self.tokens = now, True, 0
        self.ended = now
        if self.counting and now - self.started >= self.wanted:
            control.should_training_stop = True

    def count(self, _: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward hook: the tokens that are not padding."""
        self.tokens += int(kwargs["attention_mask"].sum())

    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / (self.ended - self.started)


class Peer:
    """One model, trained on and on; each call of `rate` continues it."""

    def __init__(
        self,
        shape: Shape,
        hidden: int,
        tokenizer_file: Path,
        windows: Sequence[np.ndarray],
        masking: float,
        device: str = "cpu",
    ) -> None:
        self.device = device
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(tokenizer_file), pad_token="[PAD]", mask_token="[MASK]", unk_token="[UNK]"
        )
        torch.manual_seed(0)
        self.model = BertForMaskedLM(
            BertConfig(
                vocab_size=shape.vocab_size,
                hidden_size=shape.width,
                num_hidden_layers=shape.depth,
                num_attention_heads=shape.heads,
                intermediate_size=hidden,
                max_position_embeddings=shape.seq_len,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                pad_token_id=0,
            )
        )
        self.examples = [{"input_ids": window.astype(np.int64).tolist()} for window in windows]
        self.collator = DataCollatorForLanguageModeling(self.tokenizer, mlm=True, mlm_probability=masking)

    def num_parameters(self) -> int:
        """Shared ones counted once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def rate(self, batch_size: int, bf16: bool, seconds: float, lr: float, warm_steps: int = 3) -> float:
        """Non-pad tokens per second, masking and batching included.

        Args:
            batch_size: windows of a step.
            bf16: precision of the forward pass.
            seconds: to measure for, after the warm-up.
            lr: peak learning rate.
            warm_steps: steps before the clock starts.
        """
        clock = Clock(warm_steps, seconds)
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                use_cpu=self.device == "cpu",
                bf16=bf16,
                per_device_train_batch_size=batch_size,
                train_sampling_strategy="group_by_length",
                max_steps=1_000_000,
                learning_rate=lr,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                dataloader_num_workers=0 if self.device == "cpu" else 4,
                dataloader_pin_memory=self.device != "cpu",
            )
            trainer = Trainer(
                model=self.model,
                args=arguments,
                train_dataset=self.examples,
                data_collator=self.collator,
                callbacks=[clock],
            )
            trainer.remove_callback(PrinterCallback)
            hook = self.model.register_forward_pre_hook(clock.count, with_kwargs=True)
            trainer.train()
            hook.remove()
        return clock.rate()
