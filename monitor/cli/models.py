"""`livecordon models`: the model packages that there are, what each claims, what is wrong with one, and a new one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.main import EXIT_USAGE

if TYPE_CHECKING:
    from monitor.classify.inspection import Inspection

models_dir_option = click.option(
    "--models-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of model packages; the shipped ones by default.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def models() -> None:
    """List, show, check and draft model packages."""


@models.command("list")
@models_dir_option
@json_option
def list_packages(models_dir: Path | None, *, as_json: bool) -> None:
    """List the model packages in a folder."""
    from monitor import shipped  # noqa: PLC0415 - keeps `--help` fast
    from monitor.classify.manifest import MANIFEST_NAME  # noqa: PLC0415
    from monitor.classify.package import read_manifest  # noqa: PLC0415
    from monitor.errors import ModelPackageError  # noqa: PLC0415

    base = models_dir or shipped.models_dir()
    rows: list[dict[str, Any]] = []
    for file in sorted(base.glob(f"*/{MANIFEST_NAME}")):
        row: dict[str, Any] = {"name": file.parent.name, "folder": str(file.parent)}
        try:
            manifest, _ = read_manifest(file.parent)
        except ModelPackageError as error:
            row["problems"] = [str(problem) for problem in error.problems]
        else:
            where = "here" if manifest.remote is None else "remote"
            row |= {"version": manifest.version, "runs": where, "labels": list(manifest.labels)}
            row["summary"] = manifest.summary
        rows.append(row)
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for row in rows:
        if "problems" in row:
            click.echo(f"{row['name']}: unusable; see: livecordon models check {row['folder']}")
        else:
            click.echo(f"{row['name']} {row['version']} ({', '.join(row['labels'])}): {row['summary']}")
    if not rows:
        click.echo(f"no packages in {base}")


@models.command()
@click.argument("name")
@models_dir_option
@json_option
def show(name: str, models_dir: Path | None, *, as_json: bool) -> None:
    """Show what package NAME (or a folder) says of itself."""
    from monitor.classify.package import find_package, read_manifest  # noqa: PLC0415 - keeps `--help` fast
    from monitor.cli.models_show import describe  # noqa: PLC0415

    folder = find_package(name, models_dir)
    manifest, _ = read_manifest(folder)
    if as_json:
        document = {"folder": str(folder), **manifest.model_dump(mode="json", exclude_none=True)}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    for line in describe(manifest, folder):
        click.echo(line)


@models.command("check")
@click.argument("name", metavar="DIR")
@click.option("--record", is_flag=True, help="Store the self-test anew first, after you have changed the manifest.")
@click.option("--no-measure", is_flag=True, help="Do not measure what a clip costs.")
@json_option
def check_package(name: str, *, record: bool, no_measure: bool, as_json: bool) -> int:
    """Check the model package in DIR (or a shipped one, by name): every mistake at once, and what it costs to run.

    Prints one line for each problem and each warning. Exits with 0 if there are only warnings, else with 2.
    """
    from monitor.classify.inspection import inspect_package  # noqa: PLC0415 - onnxruntime takes a while
    from monitor.classify.package import find_package  # noqa: PLC0415

    # What is there is meant, whatever it holds: its mistakes are to be told.
    folder = Path(name) if Path(name).exists() else find_package(name)
    if record:
        from monitor.classify.draft_text import record_self_test  # noqa: PLC0415 - as above

        record_self_test(folder)
    found = inspect_package(folder, measure=not no_measure)
    if as_json:
        click.echo(json.dumps(_as_document(found), ensure_ascii=False, indent=2))
    else:
        for problem in found.problems:
            click.echo(str(problem), err=True)
        for warning in found.warnings:
            click.echo(f"warning: {warning}", err=True)
        for line in _report(found):
            click.echo(line)
    return EXIT_USAGE if found.problems else 0


def _report(found: Inspection) -> list[str]:
    lines = list(found.checked)
    for variant, cost in found.costs.items():
        name = f"variant {variant}: " if variant else ""
        lines.append(
            f"{name}{cost.cpu_ms:.1f} ms of one core per clip, preparation included: {cost.clips_per_s:.0f} clips a second, "
            f"or {cost.clips_per_s:.0f} calm streams per core with one clip a second each (decoding comes on top); "
            f"{cost.memory_mib:.0f} MiB"
        )
    warnings = f", {len(found.warnings)} warning{'s' * (len(found.warnings) != 1)}" if found.warnings else ""
    problems = len(found.problems)
    lines.append(f"{problems} problem{'s' * (problems != 1)}{warnings}" if problems else f"ok{warnings}")
    return lines


def _as_document(found: Inspection) -> dict[str, Any]:
    def plain(problems: list[Any]) -> list[dict[str, Any]]:
        return [{"file": p.file, "line": p.line, "where": p.where, "what": p.what, "mend": p.mend} for p in problems]

    return {
        "ok": not found.problems,
        "problems": plain(found.problems),
        "warnings": plain(found.warnings),
        "opset": found.opset,
        "checked": found.checked,
        "costs": [
            {"variant": variant or None, "cpu_ms": round(cost.cpu_ms, 3), "memory_mib": round(cost.memory_mib, 1)}
            for variant, cost in found.costs.items()
        ],
    }


@models.command()
@click.argument("model", metavar="MODEL.ONNX", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of the new package; named after the file by default. Must be empty or not there.",
)
@click.option("--labels", metavar="LABELS", help="What the output's columns mean, such as `normal,violence`.")
def init(model: Path, output: Path | None, labels: str | None) -> None:
    """Draft a package from an ONNX file: guesses what the graph tells, marks what only you know."""
    from monitor.classify.draft_text import write_draft  # noqa: PLC0415 - onnxruntime takes a while
    from monitor.classify.drafting import draft_of  # noqa: PLC0415

    folder = output or Path(_word(model.stem))
    if folder.exists() and any(folder.iterdir()):
        raise click.UsageError(f"{folder} is not empty: name another folder with -o")
    words = [] if labels is None else [label.strip() for label in labels.split(",")]
    for word in words:
        if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", word) is None:
            raise click.UsageError(f"{word!r} is no label: use small letters, digits, - and _")
    draft = draft_of(model, _word(folder.resolve().name), words)
    write_draft(draft, model, folder)
    text = (folder / "manifest.yaml").read_text(encoding="utf-8")
    for part in draft.inputs:
        click.echo(f"input {part.name}: {part.kind}, {part.layout}, {part.dtype}")
    for out in draft.outputs:
        click.echo(f"output {out.name}: {', '.join(out.labels[:8])}; activation {out.activation} ({out.why})")
    click.echo(
        f"{folder / 'manifest.yaml'}: {text.count('DECIDE') - 1} places to decide; then: livecordon models check {folder}"
    )


@models.command("format")
def manifest_format() -> None:
    """Print every key of manifest.yaml, in Markdown."""
    from monitor.classify.reference import format_markdown  # noqa: PLC0415 - keeps `--help` fast

    click.echo(format_markdown(), nl=False)


def _word(text: str) -> str:
    """Return a name as manifests want it."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:63] or "model"
