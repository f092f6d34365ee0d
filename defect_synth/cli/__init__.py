"""`defect-synth`: parse -> config -> one call. Heavy imports wait inside the commands, so that `--help` is instant."""

from __future__ import annotations

import contextlib
import signal
import sys

import typer

from defect_synth.cli import benchmark, data, generate, models, train
from defect_synth.errors import DefectSynthError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Few-shot defect images with masks and labels (DFMGAN).",
)
app.command("check")(data.check)
app.command("demo-data")(data.demo_data)
app.command("train")(train.train)
app.command("generate")(generate.generate)
app.command("benchmark")(benchmark.benchmark)
app.command("import")(models.import_)
app.command("info")(models.info)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from defect_synth import __version__

        print(__version__)
        raise typer.Exit


def main() -> None:
    """Console entry: one clear line and exit code 2 for anything the user can mend, 130 on Ctrl-C."""
    # Background jobs start with SIGINT ignored and schedulers send SIGTERM: both should save as Ctrl-C does.
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(number, signal.default_int_handler)
    try:
        app()
    except DefectSynthError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; everything finished so far is kept, continue with the same command (train: --resume)",
              file=sys.stderr)  # fmt: skip
        sys.exit(130)
