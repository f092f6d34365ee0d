"""`defect-synth`: parse -> config -> one call. Heavy imports wait inside the commands, so that `--help` is instant."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from defect_synth.cli import (
    bank,
    benchmark,
    check,
    demo_data,
    export,
    generate,
    import_snapshot,
    info,
    pack,
    paint,
    preview,
    quality,
    train,
)
from defect_synth.cli.terminal import (
    BROKEN_PIPE,
    PipeClosedError,
    explained,
    finish_streams,
    log_to_terminal,
    prepare_streams,
    say,
    say_error,
)
from defect_synth.errors import ConfigError, DefectSynthError, ToldElsewhereError


class _InterruptedError(Exception):
    """Ctrl-C inside a command, under a name that typer lets pass: it ends the program on Ctrl-C without a word."""


_UsageError: Any = typer.BadParameter.__base__  # of typer's own copy of click, or of click itself


class _Command(TyperCommand):
    def invoke(self, ctx: Any) -> Any:
        for option in self.params:
            value = ctx.params.get(option.name)
            if isinstance(value, float) and not math.isfinite(value):  # NaN is inside of every range
                raise ConfigError(_range(option, value))
        return super().invoke(ctx)


def _told(error: Any) -> str:
    """What is wrong with a command line; for a number out of its range, the range and what was given."""
    option = getattr(error, "param", None)
    for place, text in enumerate(sys.argv):
        for name in getattr(option, "opts", ()):
            given = text[len(name) + 1 :] if text.startswith(f"{name}=") else (*sys.argv, "")[place + 1]
            if text.partition("=")[0] == name and _limit(option, "max") is not None:
                return _range(option, given)
    return str(error.format_message()).rstrip(".")


def _range(option: Any, given: object) -> str:
    low, high = _limit(option, "min"), _limit(option, "max")
    return f"{option.opts[0]} must be between {low} and {high}, got {str(given)[:40] or 'nothing'}"


def _limit(option: Any, side: str) -> float | None:
    """A limit of an option, where this version of typer keeps it."""
    limit = getattr(option, side, None)
    found: float | None = getattr(getattr(option, "type", None), side, None) if limit is None else limit
    return int(found) if found is not None and found == int(found) else found


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            where = error.ctx.command_path if error.ctx else ctx.command_path
            raise ConfigError(f"{_told(error)}; see `{where} --help`") from None
        except KeyboardInterrupt as error:
            raise _InterruptedError from error
        except BrokenPipeError as error:
            raise PipeClosedError from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich takes longer than all the rest of --help
    help="Few-shot defect images with masks and labels (DFMGAN).",
)
app.command("check", cls=_Command)(check.check)
app.command("demo-data", cls=_Command)(demo_data.demo_data)
app.command("train", cls=_Command)(train.train)
app.command("generate", cls=_Command)(generate.generate)
app.command("benchmark", cls=_Command)(benchmark.benchmark)
app.command("quality", cls=_Command)(quality.quality)
app.command("bank", cls=_Command)(bank.bank)
app.command("preview", cls=_Command)(preview.preview)
app.command("paint", cls=_Command)(paint.paint)
app.command("export", cls=_Command)(export.export)
app.command("import", cls=_Command)(import_snapshot.import_)
app.command("pack", cls=_Command)(pack.pack)
app.command("info", cls=_Command)(info.info)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from defect_synth import __version__

        say(__version__)
        raise typer.Exit


def main() -> None:
    """Console entry: one clear line and exit code 2 for anything the user can mend, 130 on Ctrl-C.

    Where nobody reads the output any more, as in `defect-synth check data | head -3`, the command ends without a word.
    """
    # Read once, when torch loads OpenMP. By default a thread that waits for another one keeps its processor busy, also
    # where other programs need it: then training took several times as long (figures in docs/guarantees.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Background jobs start with SIGINT ignored and schedulers send SIGTERM: both should save as Ctrl-C does.
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(number, signal.default_int_handler)
    prepare_streams()
    log_to_terminal()
    try:
        code = finish_streams(_run())
    except BrokenPipeError:  # standard error is closed, too
        code = finish_streams(BROKEN_PIPE)
    sys.exit(code)


def _run() -> int:
    """Run the command; its exit code."""
    try:
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except PipeClosedError:
        return BROKEN_PIPE
    except DefectSynthError as error:
        _tell(error)
        return 2
    except OSError as error:  # whatever the system refuses: permission, a broken disk, a path of 5,000 characters
        say_error(explained(error))
        return 2
    except MemoryError:
        say_error("not enough memory; use fewer or smaller images, or a smaller number of samples")
        return 2
    except (KeyboardInterrupt, _InterruptedError):
        if _rank() == 0:
            say("interrupted; everything finished so far is kept, continue with the same command "
                "(train, benchmark: --resume)", error=True)  # fmt: skip
        return 130
    return 0


def _tell(error: DefectSynthError) -> None:
    """The one line; of several processes of one run the first speaks, unless the fault may be another's own."""
    rank = _rank()
    if rank == 0:
        say_error(error)
    elif not isinstance(error, ConfigError | ToldElsewhereError):
        say_error(error, f"error in process {rank}")


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))
