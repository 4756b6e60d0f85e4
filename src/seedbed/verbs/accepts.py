"""Which runs a verb's RUN may be, when it is looked for in a folder of runs. Imports nothing: the help reads it too."""

from __future__ import annotations

# Runs that end in the same encoder however often they are built upon, so that a command repeated finds its own run.
ENCODING = ("pretrain", "run")
ANSWERING = ("run", "finetune", "prove")
TRAINED = ("pretrain", *ANSWERING)
