"""The commands, in the order in which a newcomer meets them."""

from __future__ import annotations

from typing import Annotated

import typer

from ingot.cli import (
    backup,
    config,
    demo,
    doctor,
    init,
    key,
    list,
    mount,
    rebuild,
    restore,
    show,
    support_bundle,
    up,
    verify,
)
from ingot.cli.service import agent, hypervisor, job, machine, plan, pool, rule, user
from runtime.version import VERSION

app = typer.Typer(
    name="ingot",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"ingot {VERSION}")
        raise typer.Exit


@app.callback()
def ingot(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Back up virtual machine disks: deduplicated, compressed, encrypted; restored without any service.

    First steps: `ingot init`, `ingot backup`, `ingot list`, `ingot restore`. Or `ingot demo`, which does all of them
    on a disk that it makes.

    Exit codes: 0 good, 1 fault, 2 usage, 3 something was lost, 130 interrupted.
    """


app.command("init")(init.init)
app.command("backup")(backup.backup)
app.command("list")(list.list_)
app.command("show")(show.show)
app.command("restore")(restore.restore)
app.command("mount")(mount.mount)
app.command("verify")(verify.verify)
app.command("rebuild")(rebuild.rebuild)
app.add_typer(key.keys, name="key")
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)

for name, commands in (
    ("hypervisor", hypervisor.hypervisors),
    ("machine", machine.machines),
    ("plan", plan.plans),
    ("rule", rule.rules),
    ("job", job.jobs),
    ("pool", pool.pools),
    ("agent", agent.agents),
    ("user", user.users),
    ("token", user.tokens),
):
    app.add_typer(commands, name=name, rich_help_panel="Services")
app.add_typer(config.configs, name="config", rich_help_panel="Services")
app.command("up", rich_help_panel="Services")(up.up)
app.command("support-bundle", rich_help_panel="Services")(support_bundle.support_bundle)
