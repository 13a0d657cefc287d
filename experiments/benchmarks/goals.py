"""What was aimed at: the ratios that the project set itself, each under the name of what measures it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from experiments.benchmarks.records import Benchmarks


@dataclass(frozen=True)
class Goal:
    """One row of the table of goals.

    Args:
        name: Of a measurement, whose ratio counts, or of a figure, whose value counts.
        work: What is done.
        against: What it is divided by.
        most: Largest value that meets the goal.
        reason: What holds it, and what was tried. Shown where a run does not meet it.
    """

    name: str
    work: str
    against: str
    most: float
    reason: str = ""

    def value(self, run: Benchmarks) -> float | None:
        """What a run measured; ``None``: nothing under that name."""
        measurement, figure = run.measurement(self.name), run.figure(self.name)
        if measurement is not None:
            return measurement.ratio
        return None if figure is None else figure.value


_MLP = "round, 10 sites x 2,000 records, MLP 30-64-1"
_HUNDRED = "round, 100 sites x 2,000 records, same MLP, all 100 sites a round instead of 10 (see [limits](#limits))"
_CNN = "round, 10 sites x 2,000 images, CNN"
_PRIVATE_CNN = "round, 10 sites x 1,000 images, CNN, DP-SGD"
_STEP: Final = {"mlp": "MLP 30-64-1", "wide_mlp": "MLP of 10⁶ parameters", "cnn": "CNN of 10⁵ parameters"}
_STEP_MOST: Final = {"mlp": 1.3, "wide_mlp": 1.7, "cnn": 1.8}
_EXACT: Final = (
    "Clipped sums are float64 matrix products that are cut to the grid once, and passes have one public shape with room for a "
    "large draw, half as many records more at 64 patients: the promised sensitivity holds exactly, and time tells nothing of the "
    "draw. [The parts](#what-a-private-step-is-made-of) show what is left. "
)
_STEP_REASON: Final = {
    "mlp": _EXACT
    + "With so few parameters it is calls, some seventy of a microsecond or three, where the plain step has autograd's; with 1,024 "
    "patients also norms and sums in float64. The noise of a round's steps is made by the same calls, memory and views are kept, "
    "which took a fifth off the step; plain layers are copied without `deepcopy`, the network is stacked once a round, key-streams "
    "need no generator, and the hyperbolic tangent is taken by the logistic function, which took as much again.",
    "wide_mlp": _EXACT
    + "The secure noise of a million numbers and the float64 product are each about a plain step at 64 patients. Noise is made in "
    "the memory of its words, large memory is kept (a new page costs three microseconds), which took a fifth off the step. Tried "
    "without gain: float32 products of 64 to 160 records added up in float64, which write and read the million numbers again each "
    "time; cutting in blocks; other block sizes of the noise. Products in blocks of the output gained in one size and lost in "
    "others. NumPy's sine is twelve times slower than the one in use; AES-256 would save at most a fifth of the key-stream, which "
    "is a tenth of the step. One float32 product would save a tenth, but rounding then needs room that grows with the square of "
    "the patients drawn, above one per cent from 320 on.",
    "cnn": _EXACT + "Convolutions forward and back and windows of the images are most of the rest.",
}
_FEW_OPERATIONS: Final = (
    "A local step is a few operations on small matrices, so what is left is the cost of calling them: a block of half the sites "
    "takes more than half the time, so a second core cannot halve a round. Parameters lie in one block, operations are bound to "
    "their tensors once, a step is the product itself, workers draw the next round's orders while a round is folded. "
    "`python -m experiments.benchmarks.round_profile` prints the parts: draws, steps, whole rounds with one worker and with two. "
)

GOALS: Final = (
    Goal("mlp_round_bare", _MLP, "bare sequential PyTorch loop", 0.10, _FEW_OPERATIONS),
    Goal("mlp_round_pfl", _MLP, "pfl", 0.08, _FEW_OPERATIONS),
    Goal("mlp_round_flower", _MLP, "Flower simulation (Ray)", 0.045, _FEW_OPERATIONS),
    Goal(
        "private_mlp_round_opacus",
        f"{_MLP}, DP-SGD",
        "Opacus hooks in a bare loop",
        0.06,
        "A part of a private round is secure noise from each site's own stream, which Opacus' side does without. Sites are "
        "divided among the cores. `python -m experiments.benchmarks.round_profile` prints the parts: draws, steps, noise, whole "
        "rounds with one worker and with two.",
    ),
    Goal("hundred_sites_round_pfl", _HUNDRED, "pfl", 0.15),
    Goal("hundred_sites_round_flower", _HUNDRED, "Flower simulation (Ray)", 0.08),
    Goal("cnn_round_bare", _CNN, "bare PyTorch loop on both cores", 1.0),
    Goal("cnn_round_pfl", _CNN, "pfl", 1.0),
    Goal("cnn_round_flower", _CNN, "Flower simulation (Ray)", 1.0),
    Goal("private_cnn_round_opacus", _PRIVATE_CNN, "Opacus hooks in a bare loop on both cores", 1.0),
    Goal("private_cnn_round_flower", _PRIVATE_CNN, "Flower simulation (Ray) with Opacus hooks", 1.0),
    Goal(
        "whole_simulation_flower",
        "whole `cohortium simulate` process",
        "Flower simulation, whole process",
        0.2,
        "The figures `whole_simulation_...` below are its profile: importing PyTorch, SciPy, Hydra and our own documents is most "
        "of it, training next to nothing. Imports hold Python's one lock: a copy of the process draws and reads the hospitals "
        "meanwhile, another makes the report's page.",
    ),
    Goal(
        "whole_simulation_overhead",
        "a simulated study's overhead outside training and imports, in seconds",
        "one second",
        1.0,
        "The figures `whole_simulation_...` below are its profile. Two copies of the process work beside its imports, so that "
        "both processors are busy: what is left is work, not waiting. Hospitals of 28,570 patients are written as text, planned "
        "and read by DuckDB, a database each; figures are laid out and drawn by two processes. Tried: a thread for the "
        "hospitals (took turns with the imports), fewer optimisers in DuckDB's plans (no gain), writing text by DuckDB (twice "
        "as slow), laying out figures in one pass (legends fell on labels).",
    ),
    Goal(
        "start_up_seconds",
        "`cohortium --help`, a time of this machine, in seconds",
        "0.3 seconds",
        0.3,
        "The rows `start_up...` below divide it by an empty Python program and by `flwr --help`: where the empty program is slow, "
        "so is this. Commands are imported when they are called, so that help needs little beside Typer.",
    ),
    *(
        Goal(
            f"private_step_{model}_{size}",
            f"DP-SGD step, one thread, batch {size:,}, {words}",
            "plain SGD step",
            _STEP_MOST[model],
            _STEP_REASON[model],
        )
        for model, words in _STEP.items()
        for size in (64, 256, 1024)
    ),
    *(
        Goal(f"private_gradient_error_{model}", f"its gradients, {words}", "explicit loop over patients", 1e-6)
        for model, words in _STEP.items()
    ),
    Goal(
        "fold_memory_speed",
        "fold of 10⁷ float32 parameters, an update",
        "its bytes at memory speed",
        1.5,
        "A block is widened, multiplied and added, each once through the cache: the rows `fold_part_...` below. Updates that wait "
        "share a reading and writing of the sum. BLAS' daxpy for multiplying and adding at once saved next to nothing, the "
        "mixed-precision loops of NumPy and torch nothing.",
    ),
    Goal(
        "fold_flower",
        "fold of 10⁷ float32 parameters, an update, all cores",
        "Flower's FedAvg aggregation",
        0.2,
        "Flower adds in float32 and holds all updates; ours adds in float64 and holds a few. The rows `fold_part_...` below are "
        "what reading, widening, multiplying and adding take by themselves, on one core; together they are most of the row "
        "`fold_flower_one_thread`, and only more cores divide them. Flower's time swings twofold with how fast it gets fresh "
        "memory for its products: see the range.",
    ),
    Goal("fold_peak_growth", "peak memory of the fold, 200 sites", "10 sites", 1.01),
    Goal("tracking_round", "recording a round for MLflow, durably", "the round itself, inline engine", 0.02),
    Goal("tracking_round_batched", "recording a round for MLflow, durably", "the round itself, batched engine", 0.02),
    Goal(
        "gate_message_attacked",
        "an honest site's message while a member attacks the gate (200 slow connections, 100 MB bodies)",
        "the same without the attack",
        2.0,
        "The attacker is a process on the same cores, and its handshakes are the gate's work.",
    ),
    Goal("flower_round_2_sites", "round of trivial work over real processes, 2 sites", "stock Flower with torch", 0.17),
    Goal(
        "flower_round_10_sites",
        "round of trivial work over real processes, 10 sites",
        "stock Flower with torch",
        0.19,
        "What is left is the SuperLink's own work, in one process, where stock Flower's is spread over those it starts.",
    ),
)
