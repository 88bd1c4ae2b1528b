"""The command line as a whole: `pimu-build` and its commands, in the order of work."""

from __future__ import annotations

import os

import click

from builder import __version__
from builder.cli import disks, images, papers, texts, upkeep
from builder.cli.group import NodeGroup


@click.group(
    cls=NodeGroup,
    epilog=texts.EPILOG,
    options_metavar="",
    subcommand_metavar="NODE... [OPTIONS] | COMMAND",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="pimu-build", message="%(prog)s %(version)s")
@click.pass_context
def pimu_build(ctx: click.Context) -> None:
    """Make flashable Raspberry Pi images whose nodes run an x86_64 guest.

    A first word that is no command is a node to build.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False


for _command in (
    images.build_command,
    images.plan_command,
    images.render_command,
    images.verify_command,
    images.boot_command,
    disks.flash_command,
    disks.list_command,
    papers.diff_command,
    papers.export_command,
    papers.publish_command,
    upkeep.doctor_command,
    upkeep.cache_group,
    upkeep.fetch_command,
    upkeep.lock_command,
    upkeep.k3s_ca_command,
    upkeep.completion_command,
):
    pimu_build.add_command(_command)
