"""The command `hawker`, also `python -m mediaserver`: reads the configuration and runs the server.

Exit codes: 0 done, 1 it cannot run as configured, 2 the command line is wrong; 1 and 2 say why in one
line on stderr. On stdout the server prints nothing but its ready line.
"""

from __future__ import annotations

import asyncio
import difflib
import importlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import benchmarks
from config import Config, ConfigError, load, to_toml
from mediaserver import banner, lifecycle, logs

cli = typer.Typer(
    name="hawker",
    help="Hawker, a live-selling media server.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _settings(values: list[str]) -> list[str]:
    for value in values:
        name, given, _ = value.partition("=")
        if not given or ("." not in name and name not in Config.model_fields):
            raise typer.BadParameter(f"{value!r} is not SECTION.KEY=VALUE")
    return values


File = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file; default.toml explains every key."),
]
Settings = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="One setting (also workers=N); wins over file and environment. Repeatable.",
        callback=_settings,
    ),
]


@cli.command()
def serve(config: File = None, settings: Settings = []) -> int:  # noqa: B006  # read, never written
    """Run the server until SIGTERM or Ctrl-C."""
    return _run(load(config, settings=settings))


@cli.command()
def demo(config: File = None, settings: Settings = []) -> int:  # noqa: B006
    """Run the server with a synthetic host on the air, and print where to watch it."""
    return _run(load(config, settings=[*settings, "demo.enabled=true"]))


@cli.command("config")
def show_config(config: File = None, settings: Settings = []) -> int:  # noqa: B006
    """Print the effective configuration, secrets masked."""
    typer.echo(to_toml(load(config, settings=settings)), nl=False)
    return 0


@cli.command("doctor")
def examine(
    config: File = None,
    settings: Settings = [],  # noqa: B006
    url: Annotated[
        str | None, typer.Option("--url", help="A running server to look at, from here.")
    ] = None,
) -> int:
    """Look for what is missing on this machine, or between it and a server; 1 if something is."""
    from mediaserver import doctor  # the other commands need not wait for all it imports

    if url is None:
        findings = list(doctor.examine_machine(load(config, settings=settings)))
    else:
        findings = asyncio.run(doctor.examine_server(url.rstrip("/")))
    for finding in findings:
        fix = "" if finding.level == "ok" else f": {finding.fix}"
        typer.echo(f"{finding.level:<5} {finding.what}{fix}")
    return 1 if any(finding.level == "fail" for finding in findings) else 0


@cli.command(
    context_settings={
        "allow_extra_args": True,
        "allow_interspersed_args": False,
        "ignore_unknown_options": True,
    }
)
def bench(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", show_default=False)] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the benchmarks.")] = False,
) -> int:
    """Run a benchmark; what follows its name is passed on to it."""
    available = benchmarks.available()
    if list_all:
        for each, summary in available.items():
            typer.echo(f"{each:<16} {summary}")
        return 0
    if name is None:
        raise typer.BadParameter("a name is missing; --list shows them", param_hint="NAME")
    if name not in available:
        nearest = difflib.get_close_matches(name, available, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "--list shows them"
        raise typer.BadParameter(f"no benchmark {name!r}; {hint}", param_hint="NAME")
    code: int = importlib.import_module(f"benchmarks.{name}").main(context.args)
    return code


@cli.command(
    "load",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def load_node(context: typer.Context) -> int:
    """Load a running node with real sessions; `hawker load --help` shows the options."""
    from benchmarks.load import main as run  # the other commands need not wait for all it imports

    return run(context.args)


@cli.command()
def backup(
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The file to write, mode 600.")],
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Also the key files that make addresses readable.")
    ] = False,
    config: File = None,
    settings: Settings = [],  # noqa: B006
) -> int:
    """Back the whole shop up into one file, while the server runs."""
    from mediaserver import upkeep

    upkeep.backup(load(config, settings=settings), to, with_keys=with_keys)
    return 0


@cli.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `hawker backup` wrote.")],
    force: Annotated[
        bool,
        typer.Option("--force", help="Even where there is a shop; a SQLite file stays as .old."),
    ] = False,
    config: File = None,
    settings: Settings = [],  # noqa: B006
) -> int:
    """Put a backup in the place of the store; the server must not run."""
    from mediaserver import upkeep

    upkeep.restore(load(config, settings=settings), file, force=force)
    return 0


@cli.command("move-store")
def move_store(
    origin: Annotated[str, typer.Option("--from", metavar="URL", help="As in store.url.")],
    target: Annotated[str, typer.Option("--to", metavar="URL", help="An empty one.")],
) -> int:
    """Move the whole shop to another store; no server may run on either."""
    from mediaserver import upkeep

    upkeep.move_store(origin, target)
    return 0


def _run(config: Config) -> int:
    from mediaserver.app import App  # the other commands need not wait for all it imports

    logs.configure(config.log.level, config.log.format)
    app = App(config)

    def announce() -> None:
        typer.echo(json.dumps(app.ready_line()))
        if config.demo.enabled:
            banner.show(app.banner(), Console(stderr=True, highlight=False))
        elif app.new_admin_token is not None:
            typer.echo(
                f"admin token, made now and kept in the data directory: {app.new_admin_token}",
                err=True,
            )

    if sys.platform == "win32":
        asyncio.run(lifecycle.run(app, announce))
    else:
        import uvloop

        uvloop.run(lifecycle.run(app, announce))
    return 0


def main() -> int:
    try:
        code: int = cli(prog_name="hawker", standalone_mode=False)
    except typer.TyperException as error:
        line = " ".join(error.format_message().split())
        typer.echo(f"hawker: {line} (hawker --help explains)", err=True)
        return error.exit_code
    except (ConfigError, lifecycle.StartError) as error:
        typer.echo(f"hawker: {error}", err=True)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
