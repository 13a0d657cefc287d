"""The prose of ``docs/performance.md``; every figure in it comes from a run."""

from __future__ import annotations

from string import Template
from typing import Final

PAGE: Final = Template("""\
# Performance

What Cohortium costs, beside floors and other systems. This page is made from [performance.json](performance.json),
$source, by `python -m experiments.benchmarks.page`; a test holds
the two together. Another machine gives other times, and a processor on which calls or loops are faster moves ratios, too:

```bash
make bench                                             # everything; the time is spent in the peers, not in ours
make bench BENCH_OPTIONS='--only mlp_round --only fold'
make bench BENCH_OPTIONS='--quick'                     # does everything run?
python -m experiments.benchmarks --list                # the names
python -m experiments.benchmarks.peer_environment      # .venv-peers, for pfl; without it pfl is skipped by name
python -m experiments.benchmarks.compare docs/performance.json outputs/benchmarks/benchmarks.json
python -m experiments.benchmarks.merge docs/performance.json outputs/benchmarks/benchmarks.json --output merged.json
python -m experiments.benchmarks.page outputs/benchmarks/benchmarks.json
```

$warning## How it is measured

- **In turns.** Ways of doing the same work run A B C, A B C, ... A ratio is taken within a turn; the median of these
  ratios counts, and their smallest and largest are its range. What slows the machine down for all of them cancels;
  times are a hint. A way that takes longer than five seconds for a turn of private steps is in three turns only, and a
  race begins no turn that would end after five minutes.
- **A tool of our own.** pyperf takes all processes of one benchmark, from its calibration to its last value, before it
  begins the next one; pytest-benchmark measures one function a test, all its rounds in a row. Neither takes turns between
  ways by itself, so that what slows a machine for some minutes falls on one of them and stays in their ratio. What is good
  in them is here: warm-up, repetitions, spread, JSON with the facts of the machine, and a comparison of two runs with a
  tolerance beyond scatter. Several runs can be put together (`merge`): each row is then of one of them, and
  [the machine](#the-machine) says of which.
- **The same work.** Whole simulations start from the same parameters and take the same patients in the same order.
  Each leaves its final parameters; a way whose loss differs from the others' is left out by name
  ([below](#same-work)). Private ways draw and add noise on their own, so only their losses can agree.
- **A round** runs from the end of the round before to its own end; the first one, and everything before it, is left
  out. Ours has the coordinator, the folding and the history of a real study in it. The batched engine sends no messages and
  commits checkpoints every two seconds, so its median round has none; the inline engine has messages, agents, ledgers
  and a checkpoint in every round.
- **A process** runs from its start to its end, with imports and reading. Ours draws hospitals, writes them as files,
  reads and encodes them and writes a report besides; Flower's side reads the same number of patients from one file. In this
  bench both find compiled bytecode, as after an installation. A simulation's *overhead* is its whole process, less its
  training, less a process that imports the same modules and ends; `cohortium simulate` itself prints its time by phase and
  keeps it in `phases.json`: what it *waits* for beside training and imports is less, because copies of it work meanwhile.
- **Two goals are times**, not ratios: the overhead of a simulation and the start of `cohortium --help`. They are times of
  [this machine](#the-machine) under its load; another one may miss or meet them with the same code.
- **A floor and a peer.** A round over real processes stands beside stock Flower's, and beside the same round in one
  process; a whole simulation beside Flower's, and beside its imports alone; a start beside `flwr --help`, and beside an
  empty Python program.
- **A private step** is what an agent calls: draw, gradients, clipping, noise from a cryptographic stream in whole
  grid steps, and its checks. Opacus' side has neither its samplers nor secure noise, which only makes it faster.
- **Memory speed** is as many bytes with next to no arithmetic: every update read once, and for every update the sum in
  float64 read and written once, on one core. Ours reads and writes the sum once for several updates that wait, at most
  eight and 256 MiB; the stricter floor, `fold_least_memory_speed`, does so too. Every site's update is a vector of its own,
  so that nobody finds one in the cache.
- Programs of whole simulations run with the numbers of threads and of worker processes that the table [below](#same-work) names;
  everything else on one thread. Ours takes the workers that it takes by default.
- Peers: a bare PyTorch loop; Opacus; Flower's simulation on Ray with two workers of one processor each; pfl-research
  (Granqvist et al. 2024) in one process; stock Flower's processes.

## Goals

$goals

A value at or below the goal meets it. "Not measured" is listed [further down](#what-was-not-measured).

$reasons## All ratios

Ours divided by the other; below one, ours is faster.

$ratios

## What a private step is made of

In plain SGD steps of as many patients. Each part is measured by itself, in turns with the whole
(`python -m experiments.benchmarks --only 'step_parts_*'`), so that the median parts do not add up exactly.

$parts

## Other figures

$figures

## Same work

Mean loss and accuracy over all training patients after the last round. *Distance* is how far the final parameters are
from those of the first other way, divided by how far training moved these: rounding, where it is far below one.
Memory is of the main process alone; workers are processes beside it.

$agreements

## What was not measured

$skipped

## The machine

$machine

## A plan for many sites

What a federation of many sites would ask of its aggregator, from the unit costs of this run, on one thread. A model
of
$plan_parameters parameters, $plan_rounds rounds, every site in every round:

$plain_plan

With secure aggregation, keys made anew for every round and nobody lost:

$masked_plan

`python -m experiments.benchmarks.scale_plan docs/performance.json --sites 10000 --masked` prints one of them, for any numbers.
Read it so:

- Bytes are float32 updates without compression, the request with the model included. Requests differ by site only in
  their headers.
- Memory counts every request of a round: they are all written before the first is sent. The running sum itself is one
  model in float64, and at most 256 MiB of updates wait to be added to it, whatever the number of sites.
- What Flower's processes, TLS, disks and networks add is not in it, nor what SuperLink keeps of messages in flight.
- The work of keys and sealed shares grows with the square of the sites. A manifest takes at most $most_sites sites
  with secure aggregation; more would need sums of groups, which do not exist here.

## Limits

- One machine and one processor type. A GPU was $accelerator.
- Flower's and pfl's figures are of plain, small clients, as their documentation shows them; somebody who tunes them
  may get more.
- The goals for 100 sites were set for ten of them a round. Studies here have no sampling of sites: every site of the roster
  is asked in every round. They are of a few hospitals that all want to take part, and each of them agrees beforehand to the
  number of its rounds; a draw by the aggregator would be one more thing to agree on and to check. So the work with 100
  sites has all of them in every round, for everybody: ten times the training of what was asked, ours and the peers' alike.
  A round of ten sites is a row of its own, `mlp_round`.
- Ratios of work that takes less than a millisecond depend on caches and on what else runs.
""")
