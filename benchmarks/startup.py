"""How long `import seedbed` and `seedbed --help` take, each in a fresh process, and whether either loads torch.

    python benchmarks/startup.py [--repeats 15]

Figures are medians; the time an empty Python needs is taken off the import, not off the help (a user waits for both).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from outcome import conclude, machine, spread

IMPORT_S, HELP_S = 0.15, 0.4
HELP = "import sys; from seedbed.cli import main; sys.argv = ['seedbed', '--help']; main()"
NO_TORCH = "import sys, seedbed; sys.exit('torch' in sys.modules)"
NO_TORCH_HELP = (
    "import sys; from seedbed.cli import main; sys.argv = ['seedbed', '--help']\n"
    "try: main()\n"
    "except SystemExit: pass\n"
    "sys.exit('torch' in sys.modules)"
)


def seconds_of(program: str) -> float:
    """Wall-clock seconds of a fresh Python that runs a program."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Alternate the three programs so that a slow moment of the machine meets all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    began = time.perf_counter()
    programs = {"empty": "pass", "import": "import seedbed", "help": HELP}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats):
        for name, program in programs.items():
            times[name].append(seconds_of(program))
    no_torch = all(
        subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0
        for program in (NO_TORCH, NO_TORCH_HELP)
    )
    empty, *_ = spread(times["empty"])
    imported, import_low, import_high = spread(times["import"])
    helped, help_low, help_high = spread(times["help"])
    conclude(
        "startup",
        holds=imported - empty < IMPORT_S and helped < HELP_S and no_torch,
        seconds=time.perf_counter() - began,
        figures={
            "import_s": round(imported - empty, 4),
            "help_s": round(helped, 4),
            "empty_python_s": round(empty, 4),
            "torch_loaded": not no_torch,
            "repeats": repeats,
        },
        intervals={
            "import_s": [round(import_low - empty, 4), round(import_high - empty, 4)],
            "help_s": [round(help_low, 4), round(help_high, 4)],
        },
        on=machine(0),
    )


if __name__ == "__main__":
    main()
