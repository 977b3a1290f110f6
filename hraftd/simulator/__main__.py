"""
``python -m hraftd.simulator``: run many schedules, and tell of the first that fails.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from contextlib import nullcontext
from pathlib import Path
from random import SystemRandom
from time import monotonic
from typing import TYPE_CHECKING, TextIO

from attrs import evolve

from hraftd.closed_pipe import ending_quietly
from hraftd.simulator.diagram import draw
from hraftd.simulator.faults import KINDS
from hraftd.simulator.operators import DEEDS
from hraftd.simulator.recording import Recording
from hraftd.simulator.runs import Order, run_many, silence
from hraftd.simulator.schedule import ScheduleFailed
from hraftd.simulator.summary import Summary, duration

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from hraftd.simulator.runs import Result

__all__ = ["main", "order_of", "read_options"]

#: Seconds between two lines of progress.
_PROGRESS = 0.5

_DESCRIPTION = """\
Run clusters of real servers in virtual time, with every fault there is, and check
what they do after each event. A seed decides about everything that happens: the same
seed is the same history, with the same version. A schedule that fails ends the run
and says how to see it again.
"""

_EXAMPLES = f"""\
examples:
  python -m hraftd.simulator                            20 new schedules
  python -m hraftd.simulator --minutes 60 --jobs 4      a long run
  python -m hraftd.simulator --seed 7 --schedules 1 --trace 7.txt --diagram 7.svg
                                                        see one of them
  python -m hraftd.simulator --seed 1 --schedules 1 --servers 3 --only kill \\
      --diagram kill.svg                                with one kind of fault

kinds of faults: {", ".join(KINDS)}
what operators do: {", ".join(DEEDS)}

exit status: 0 if nothing was wrong, 1 if a schedule failed, 2 if the options are wrong,
130 if it was interrupted, 141 if nobody reads what it says.
"""


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 3600:
        raise ArgumentTypeError("take 1 to 3600 seconds")
    return seconds


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes <= 1e6:
        raise ValueError
    return minutes


def _moment(text: str) -> float:
    moment = float(text)
    if not 0 <= moment <= 1e4:
        raise ValueError
    return moment


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(kind.strip() for kind in text.split(",") if kind.strip() != "none")
    for kind in kinds:
        if kind not in KINDS and kind not in DEEDS:
            raise ArgumentTypeError(f"there is no kind called {kind!r}; see --help")
    return kinds


def _new_file(text: str) -> Path:
    path = Path(text)
    try:
        path.write_text("")
    except OSError as error:
        raise ArgumentTypeError(f"{text}: {error.strerror}") from error
    return path


def read_options(arguments: Sequence[str]) -> Namespace:
    """
    Return what the command line says; make the files that it names.
    """
    parser = ArgumentParser(
        prog="python -m hraftd.simulator",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    which = parser.add_argument_group("which schedules")
    which.add_argument(
        "--seed",
        type=int,
        metavar="S",
        help="of the first; the next one has S + 1. By default it is a new one",
    )
    how_many = which.add_mutually_exclusive_group()
    how_many.add_argument(
        "--schedules", type=_positive, metavar="N", help="how many; by default 20"
    )
    how_many.add_argument(
        "--minutes",
        type=_minutes,
        metavar="M",
        help="go on with further seeds for so long",
    )
    which.add_argument(
        "--jobs",
        type=_positive,
        default=1,
        metavar="N",
        help="how many processes share the work; changes nothing but the time it takes",
    )
    what = parser.add_argument_group("what happens in each")
    what.add_argument(
        "--seconds",
        type=_seconds,
        default=10.0,
        metavar="S",
        help="of virtual time, before everything heals; by default %(default)g",
    )
    what.add_argument(
        "--servers",
        type=_positive,
        metavar="N",
        help="how many; by default the seed decides",
    )
    what.add_argument(
        "--only",
        type=_kinds,
        metavar="KIND,...",
        help="these kinds of faults and deeds, or none, where otherwise the seed "
        "chooses some of all",
    )
    seen = parser.add_argument_group("to see what happened")
    seen.add_argument(
        "--trace",
        type=_new_file,
        metavar="FILE",
        help="write down there, line by line, what happens in each schedule",
    )
    seen.add_argument(
        "--diagram",
        type=_new_file,
        metavar="FILE",
        help="draw there, as SVG, the schedule that fails, or else the last one",
    )
    for option, name, meaning in (
        ("--from", "first", "where the diagram begins"),
        ("--to", "last", "where it ends; by default it shows a part with much in it"),
    ):
        seen.add_argument(
            option, dest=name, type=_moment, metavar="S", help=f"{meaning}, in seconds"
        )
    options = parser.parse_args(arguments)
    if options.diagram is None and (options.first, options.last) != (None, None):
        parser.error("--from and --to are of a --diagram")
    if None not in (options.first, options.last) and options.first >= options.last:
        parser.error("--from has to be before --to")
    return options


def order_of(options: Namespace) -> Order:
    """
    Return what is to be run first.
    """
    seed = options.seed
    return Order(
        SystemRandom().randrange(10**9) if seed is None else seed,
        options.seconds,
        options.servers,
        options.only,
        options.trace is not None,
    )


def main(arguments: Sequence[str]) -> int:
    """
    Run what is asked for.

    :return: the status of the process; the help tells which there are.
    """
    options = read_options(arguments)
    silence()
    order = order_of(options)
    first = order.seed
    count = options.schedules
    if count is None and options.minutes is None:
        count = 20
    summary = Summary()
    began = monotonic()
    result: Result | None = None
    trace: AbstractContextManager[TextIO | None] = nullcontext()
    if options.trace is not None:
        trace = options.trace.open("w")
    is_interrupted = False
    with trace as file:
        try:
            for result in run_many(order, count, options.minutes, options.jobs):
                if file is not None:
                    lines = [f"seed {result.seed}", *result.lines]
                    file.writelines(f"{line}\n" for line in lines)
                summary.add(result)
                _say_how_far(summary, began, result)
        except KeyboardInterrupt:
            is_interrupted = True
    _clear_progress()
    _tell(summary, monotonic() - began, first, result)
    if result is not None and options.diagram is not None:
        _draw(options, evolve(order, seed=result.seed, is_traced=False), result)
    if result is not None and result.failure is not None:
        return 1
    return 130 if is_interrupted else 0


def _tell(summary: Summary, took: float, first: int, result: Result | None) -> None:
    write = sys.stdout.write
    if result is None:
        write("nothing was run\n")
    elif result.failure is not None:
        write(f"{result.failure}\n")
        if summary.schedules > 1:
            write(f"{summary.schedules - 1} schedules before that had nothing wrong\n")
    else:
        last = first + summary.schedules - 1
        write(
            f"seeds {first} to {last}: nothing wrong in {summary.events} events and "
            f"{summary.requests} requests of clients\n"
        )
        write("".join(f"{line}\n" for line in summary.lines(took)))


def _draw(options: Namespace, order: Order, result: Result) -> None:
    """
    Run a schedule again, and draw it: what is not drawn need not be remembered.
    """
    schedule = order.schedule()
    recording = Recording(schedule)
    try:
        schedule.run()
        failed = False
    except ScheduleFailed:
        failed = True
    recording.finish()
    if failed is (result.failure is None) or schedule.world.events != result.events:
        sys.stderr.write(
            "the diagram shows something else: this seed was another history again\n"
        )
    command = f"{schedule.command} --diagram FILE"
    for option, moment in (("--from", options.first), ("--to", options.last)):
        if moment is not None:
            command += f" {option} {moment:g}"
    options.diagram.write_text(
        draw(recording, command, options.first, options.last), "utf-8"
    )


# Progress, where somebody looks at it.

_said_at = [0.0]


def _say_how_far(summary: Summary, began: float, result: Result) -> None:
    now = monotonic()
    if not sys.stderr.isatty() or now - _said_at[0] < _PROGRESS:
        return
    _said_at[0] = now
    took = now - began
    sys.stderr.write(
        f"\r\x1b[K{summary.schedules} schedules, {duration(summary.seconds)} of "
        f"virtual time in {duration(took)}, {summary.schedules / took:.1f} a second; "
        f"last seed {result.seed}"
    )
    sys.stderr.flush()


def _clear_progress() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")


if __name__ == "__main__":
    with ending_quietly():
        sys.exit(main(sys.argv[1:]))
