"""The commands: parse, call one function, print. Heavy imports wait inside the commands."""

import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from alld import display
from alld.errors import AlldError, ConfigError, Interrupted

app = typer.Typer(
    name="alld",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, evaluate and run classifiers that tell leukaemic blasts from healthy cells.\n\n"
    "For research. Not a medical device, not for diagnosis.",
)


class TableFormat(StrEnum):
    """How `predict` writes its rows."""

    text = "text"
    csv = "csv"
    jsonl = "jsonl"


class SplitKind(StrEnum):
    """What `--split` may say."""

    grouped = "grouped"
    random = "random"
    paper = "paper"
    blocks = "blocks"


DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder or CSV table of labelled images [default: data/]."),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps [default: auto].")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Machine-readable answer on standard output.")
]
VerboseOption = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Say more on the way.", callback=display.set_verbose),
]
SETTINGS = "Settings"


@app.command()
def train(
    arch: Annotated[
        str | None,
        typer.Option(help="Network; `alld models` lists them [default: resnet50]."),
    ] = None,
    data: DataOption = None,
    split: Annotated[
        SplitKind | None,
        typer.Option(help="How test and validation images are drawn [default: grouped]."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Draws the split and the training [default: 0].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder [default: runs/ARCH-TIME].")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with this run; no other option is needed.", metavar="RUN"),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Epochs with all layers [default: 18].", rich_help_panel=SETTINGS),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images a step [default: 64].", rich_help_panel=SETTINGS)
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="Highest learning rate [default: 1e-3].", rich_help_panel=SETTINGS),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side in pixels of the network's input [default: 224].", rich_help_panel=SETTINGS
        ),
    ] = None,
    pretrained: Annotated[
        bool | None,
        typer.Option(
            "--pretrained/--no-pretrained",
            help="Start from ImageNet weights, or from random ones [default: pretrained].",
            rich_help_panel=SETTINGS,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Start from this .safetensors or .pth file.", rich_help_panel=SETTINGS),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="CSV table path,group: which images belong together.", rich_help_panel=SETTINGS
        ),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(
            help="Folder or label that means blast, in a set with names of its own.",
            rich_help_panel=SETTINGS,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="YAML file, or the name of a shipped one such as quick.", rich_help_panel=SETTINGS
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting; may be repeated.",
            rich_help_panel=SETTINGS,
        ),
    ] = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train one model: two frozen epochs, then eighteen with all layers, as in the paper.

    Example: [bold]alld train --arch efficientnet_lite0 --data ~/ALL-IDB2 --seed 1[/]
    """
    options = {
        "model.arch": arch,
        "data.root": data,
        "split.kind": split and split.value,
        "seed": seed,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.max_lr": lr,
        "data.image_size": image_size,
        "model.pretrained": pretrained,
        "model.weights": weights,
        "split.groups": groups,
        "data.positive": positive,
        "runtime.device": device,
    }
    given = {key: value for key, value in options.items() if value is not None}
    if resume is not None and (given or out or config or assignments):
        raise ConfigError(f"--resume {resume} takes its settings from the run; give it alone")
    _train(given, config, assignments or [], out, resume, as_json)


def _train(
    given: dict[str, Any],
    file: str | None,
    assignments: list[str],
    out: Path | None,
    resume: Path | None,
    as_json: bool,
) -> None:
    from alld.config import load_config

    config = None if resume else load_config(file, assignments, given)
    if config is not None:
        from alld.model.architectures import check_arch

        check_arch(config.model.arch)
    from alld.training import train as training

    with _listener() as listener:
        run = (
            training.train(config, out, listener)
            if config is not None
            else training.resume(Path(resume or ""), listener)
        )
    if as_json:
        from alld.model.bundle import bundle_identity, read_info

        validation = read_info(run.bundle).validation
        _print_json(
            {
                "run": str(run.folder),
                "model": bundle_identity(run.bundle),
                "validation": validation,
            }
        )
        return
    display.output.print(f"run: {run.folder}", markup=False)
    display.say(f"next: alld evaluate {run.folder}")


@contextmanager
def _listener() -> Iterator[Any]:
    """The terminal's ear on a training; whatever is live is taken down at the end."""
    from alld.data.manifest import class_counts
    from alld.training.train import Listener

    steps, live = display.Steps(), display.TrainingDisplay()

    def begin(run: Any, manifest: Any, split: Any) -> None:
        steps.close()
        mark = "SYNTHETIC " if manifest.synthetic else ""
        display.say(f"{mark}{manifest.kind}: {class_counts(manifest.labels)} cell images")
        sizes = ", ".join(
            f"{len(split.indices(part))} {part}" for part in ("train", "valid", "test")
        )
        display.say(f"{split.kind} split: {sizes}; groups: {split.groups_source}")
        if split.torn_groups:
            display.warn(f"{split.torn_groups} groups lie on both sides of this split")
        display.say(f"run folder: {run.folder}")
        facts = run.info
        display.detail(f"device {facts['device']}, {facts['threads']} threads")
        display.detail(
            ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        )
        display.detail((run.folder / "config.yaml").read_text(encoding="utf-8").rstrip())

    try:
        yield Listener(step=steps, note=display.warn, begin=begin, progress=live)
    finally:
        steps.close()
        live.close()


@app.command()
def evaluate(
    run: Annotated[
        Path | None,
        typer.Argument(help="Run folder [default: the newest on real data under ./runs]."),
    ] = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Test a run on the images it held out: numbers with intervals, tables, pictures.

    Example: [bold]alld evaluate runs/resnet50-20260101-120000[/]
    """
    from alld.evaluation import evaluate as evaluation_room
    from alld.evaluation.result import caveats

    folder = run or _newest_run()
    evaluation = evaluation_room.evaluate(folder, device or "auto")
    if as_json:
        _print_json(evaluation.as_dict())
        return
    display.output.print(display.evaluation_table(evaluation))
    for prediction, label in evaluation.errors():
        display.detail(f"wrong: {display.prediction_line(prediction)} is {label}")
    for sentence in caveats(evaluation):
        display.output.print(f"- {sentence}", markup=False)
    display.output.print(f"- {display.NOTICE}", markup=False)
    display.output.print(f"evaluation: {evaluation.folder}", markup=False)


@app.command()
def predict(
    paths: Annotated[list[str], typer.Argument(help="Image files, folders or globs.")],
    model: Annotated[
        Path | None,
        typer.Option(help="Run or bundle [default: the newest run on real data under ./runs]."),
    ] = None,
    table: Annotated[
        TableFormat, typer.Option("--format", help="How the rows are written.")
    ] = TableFormat.text,
    out: Annotated[
        Path | None, typer.Option(help="Write the rows to this file (.csv or .jsonl).")
    ] = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Say blast or healthy for each image, with its probability; one row an input.

    Example: [bold]alld predict cells/ --format csv --out rows.csv[/]
    """
    from alld.inference.batch import expand
    from alld.inference.predictor import Predictor
    from alld.inference.rows import write_rows

    table = _table_format(table, out, as_json)
    predictor = Predictor.load(model or _newest_run(), device or "auto")
    info = predictor.info
    drawn = " SYNTHETIC" if info.data.synthetic else ""
    display.say(f"model: {predictor.path}{drawn} ({info.arch}, {predictor.identity[:12]})")
    counts = Counter({"blast": 0, "healthy": 0, "failed": 0})
    notes: Counter[str] = Counter()

    def watched() -> Iterator[Any]:
        for prediction in predictor.iterate(expand(paths)):
            counts[prediction.verdict or "failed"] += 1
            notes.update(prediction.notes)
            for note in prediction.notes:
                display.detail(f"note: {prediction.path}: {note}")
            yield prediction

    if as_json:
        rows = [prediction.as_row() for prediction in watched()]
        _print_json({"model": _model_facts(predictor), "predictions": rows})
    elif table is TableFormat.text:
        for prediction in watched():
            display.output.print(display.prediction_line(prediction), markup=False)
    else:
        write_rows(watched(), table.value, out)
    for note, images in notes.items():
        display.say(f"note: {note} ({display.images(images)})")
    display.say(display.summary(counts))
    display.say(display.NOTICE)
    if counts["failed"]:
        raise typer.Exit(1)


def _table_format(table: TableFormat, out: Path | None, as_json: bool) -> TableFormat:
    if out is None:
        return table
    if as_json:
        raise ConfigError("--json answers on standard output; with --out use --format csv or jsonl")
    if table is not TableFormat.text:
        return table
    suffix = out.suffix.lower().removeprefix(".")
    if suffix not in ("csv", "jsonl"):
        raise ConfigError(f"--out {out}: end it in .csv or .jsonl, or add --format csv")
    return TableFormat(suffix)


def _model_facts(predictor: Any) -> dict[str, Any]:
    info = predictor.info
    return {
        "path": str(predictor.path),
        "identity": predictor.identity,
        "arch": info.arch,
        "initial_weights": info.initial_weights,
        "synthetic": info.data.synthetic,
        "threshold": info.threshold,
        "temperature": info.temperature,
        "notice": info.notice,
    }


def _newest_run() -> Path:
    from alld.training.run import newest_run

    run = newest_run()
    display.say(f"newest finished run: {run.folder}")
    return run.folder


@app.command()
def runs(as_json: JsonOption = False) -> None:
    """List the runs under ./runs: state, network, split, accuracy on the test images.

    Example: [bold]alld runs --json[/]
    """
    from alld.evaluation.overview import run_overview

    rows = run_overview()
    if as_json:
        _print_json(rows)
        return
    if not rows:
        display.say("no runs under ./runs; `alld train` makes one")
        return
    columns = ("run", "state", "arch", "split", "seed", "data", "accuracy")
    cells = [[str(row[name]) for name in columns] for row in rows]
    display.output.print(display.plain_table(columns, cells))


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List the networks and whether their first weights are on this machine.

    Example: [bold]alld models[/]
    """
    from alld.model.architectures import list_architectures

    infos = list_architectures()
    if as_json:
        _print_json([vars(info) for info in infos])
        return
    columns = ("arch", "weights", "from", "parameters", "here")
    cells = [
        [
            info.name,
            info.weights,
            info.source,
            "" if info.parameters is None else f"{info.parameters / 1e6:.1f} M",
            "yes" if info.weights_present else "no: fetched at first use",
        ]
        for info in infos
    ]
    display.output.print(display.plain_table(columns, cells))


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))


def _version(wanted: bool) -> None:
    if wanted:
        from alld import __version__

        print(f"alld {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit status; an error of the user's is one line."""
    # fastai compiles a function in a way that torch has deprecated; no user can mend that.
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
    command = typer.main.get_command(app)
    try:
        status = command.main(arguments, prog_name="alld", standalone_mode=False)
    except Interrupted as stopped:
        display.say(str(stopped))
        return stopped.exit_status
    except AlldError as error:
        display.fail(str(error))
        return error.exit_status
    except (KeyboardInterrupt, typer.Abort):
        display.fail("stopped by Ctrl-C")
        return 130
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        sys.stdout = None
        return 141
    except Exception as error:
        # typer keeps its click private: a misspelt option is known by this method alone.
        explain = getattr(error, "format_message", None)
        if explain is None:
            raise
        display.fail(f"{explain()} ({_help_for(error)})")
        return 2
    return status if isinstance(status, int) else 0


def _help_for(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path if context else 'alld'} --help`"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 some inputs failed, 2 mend something, 130 or 143."""
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))
