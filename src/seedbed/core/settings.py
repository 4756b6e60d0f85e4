"""Every option there is. A flag, a Python argument and a TOML key have the same name and meaning.

None of these classes computes or reads anything: defaults live here, the planner fills in what says "auto" or None,
and an option that belongs to another one is refused without it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


def _open(value: object) -> object:
    """`auto` is another word for not given."""
    return None if value == "auto" else value


class Section(BaseModel):
    """A part of the configuration: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(Section):
    """How the data are read, cleaned and split."""

    text: str | None = Field(None, description="column that holds the text; found by itself when there is one")
    group: str | None = Field(None, description="column whose rows stay together in a split: patient, speaker, session")
    unit: Literal["auto", "file", "line", "paragraph"] = Field("auto", description="what one example of a .txt is")
    min_chars: Annotated[int, Field(ge=0)] = Field(1, description="shorter texts are quarantined, in characters")
    image_size: Annotated[int, Field(ge=0)] = Field(0, description="side of the working image in pixels; 0: from data")
    image_fit: Literal["cover", "stretch", "shorter"] = Field(
        "cover",
        description="cover: the middle, cut to shape; stretch: the whole image; shorter: the shorter side brought to "
        "image_size / image_crop and the middle kept",
    )
    image_resample: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = Field(
        "bicubic", description="filter that resizes images"
    )
    image_crop: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="with image_fit = shorter: share of the shorter side that is kept"
    )

    tokenizer: Literal["auto", "bpe", "char", "word"] = Field("auto", description="auto: what the objective asks for")
    vocab_size: Annotated[int, Field(ge=0)] = Field(0, description="entries of the tokenizer; 0: by amount of text")
    validation_share: Share = Field(0.05, description="share of the training rows held out to watch and to stop")
    test_share: Share = Field(0.2, description="share of labelled rows for the final score, if no split is given")
    folds: Annotated[int, Field(ge=2)] = Field(5, description="folds, when labels are too few for a test set")
    transductive: bool = Field(False, description="pretrain on the inputs of test rows too; the verdict says so")

    @field_validator("image_crop")
    @classmethod
    def _of_shorter(cls, value: float, info: ValidationInfo) -> float:
        if value < 1 and info.data.get("image_fit", "shorter") != "shorter":
            raise ValueError("less than 1 only with image_fit = shorter")
        return value


class TrainSettings(Section):
    """How a stage trains. What is None comes from the learner's SETUP, the plan, or the size."""

    optimizer: Literal["auto", "adamw", "adam", "muon", "adagrad", "rmsprop", "sgd"] = "auto"
    lr: Annotated[Positive | None, BeforeValidator(_open)] = Field(
        None, description="peak learning rate; auto: the objective's own, or in fine-tuning the best of a few trials"
    )
    weight_decay: Annotated[float, Field(ge=0.0)] | None = Field(None, description="of matrices, nothing else decays")
    momentum: Share | None = Field(None, description="with optimizer = sgd: weight of the past; 0.9 if not given")
    nesterov: bool = Field(False, description="with optimizer = sgd: take the gradient where momentum would lead")
    warmup: Share = Field(0.05, description="share of the steps with a rising learning rate")
    schedule: Literal["linear", "cosine", "wsd"] = Field(
        "linear", description="how the learning rate falls: all the way, or (wsd) only in a cool-down at the end"
    )
    cooldown: Share | None = Field(None, description="with schedule = wsd: share of steps that fall; 0.25 if not given")
    clip: Annotated[float, Field(ge=0.0)] = Field(1.0, description="largest gradient norm; 0: no clipping")
    ema: Share = Field(0.0, description="decay of the moving average of the weights; 0: none")
    batch_size: Count | None = Field(None, description="examples of a step, over all micro-batches")
    micro_batch: Count | None = Field(None, description="examples of one forward pass; default: the whole batch")
    seq_len: Count | None = Field(None, description="tokens of a window")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    freeze: tuple[str, ...] = Field((), description="parameters whose names match one of these patterns do not train")
    patience: Annotated[int, Field(ge=0)] = Field(0, description="evaluations without progress before stopping; 0: off")
    evaluations: Count = Field(10, description="how often the validation rows are scored")
    save_every_s: Positive = Field(60.0, description="seconds between checkpoints")
    keep: Count = Field(3, description="checkpoints kept")

    @field_validator("momentum", "nesterov")
    @classmethod
    def _of_sgd(cls, value: float | bool | None, info: ValidationInfo) -> float | bool | None:
        if value not in (None, False) and info.data.get("optimizer", "sgd") != "sgd":
            raise ValueError("only with optimizer = sgd")
        if value is True and info.data.get("momentum") == 0.0:
            raise ValueError("only with momentum above 0")
        return value

    @field_validator("cooldown")
    @classmethod
    def _of_wsd(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("schedule", "wsd") != "wsd":
            raise ValueError("only with schedule = wsd")
        return value


class FinetuneSettings(TrainSettings):
    """How a task is trained on an encoder, beside what every stage has."""

    patience: Annotated[int, Field(ge=0)] = Field(5, description="evaluations without progress before stopping; 0: off")
    evaluations: Count = Field(20, description="how often the held-out labels are scored")
    head_first: bool = Field(
        True, description="start the head from a probe of what was pretrained, then train everything"
    )
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="factor of the learning rate from each layer to the one below it; 1: all alike"
    )
    ensemble: Count = Field(1, description="networks trained, whose answers are averaged")


class ProveSettings(Section):
    """How the comparison is made."""

    draws: Annotated[int, Field(ge=2)] = Field(5, description="label subsets drawn; below 5 only for tests")
    labels: tuple[int, ...] = Field((), description="label counts to compare at; empty: by the number of labels")
    arms: tuple[str, ...] = Field((), description="arms to run; empty: all but stacked and self-trained ones")
    public: tuple[str, ...] = Field(
        (), description="checkpoints of others to compare with: folders of transformers, files of Keras, hf:OWNER/NAME"
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    slices: tuple[str, ...] = Field(
        (), description="parts of the items to score by themselves: by label, length, group (data.group), or a column"
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns among `slices`."""
        return tuple(name for name in self.slices if name not in ("label", "length", "group"))


class Settings(Section):
    """The whole configuration; the top level are the common flags."""

    minutes: Positive | None = Field(None, description="wall-clock bound of the whole command")
    steps: Count | None = Field(None, description="exact number of pretraining steps, instead of minutes")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of all randomness")
    size: str = Field("auto", description="size of the model: one that its file names, or auto")
    objective: str = Field("auto", description="pretext task: a file name of seedbed/objectives, or auto")
    trunk: str = Field("auto", description="backbone: a file name of seedbed/models, or auto")
    label: str | None = Field(None, description="column that holds the label")
    task: str = Field("auto", description="how labels are learnt: a file name of seedbed/tasks; auto: by the labels")
    threads: Annotated[int, Field(ge=0)] = Field(0, description="processor threads; 0: all cores")
    memory: Positive | None = Field(None, description="memory to plan for, in GiB; default: all there is")
    device: str = Field("auto", description="cpu, cuda or mps; auto: cuda where it is there")
    allow_download: bool = Field(False, description="fetch a checkpoint named hf:OWNER/NAME; else no network is used")
    data: DataSettings = DataSettings()
    pretrain: TrainSettings = TrainSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    prove: ProveSettings = ProveSettings()
    objective_options: dict[str, Any] = Field({}, description="options of the objective's own Config")
    task_options: dict[str, Any] = Field({}, description="options of the task's own Config")
