"""The command `pimu-build` and the list of its subcommands.

A command's module is imported only when the command is called, because the modules of a build take a third of a second.
"""

from __future__ import annotations

import os

import click

from builder import __version__
from builder.cli.group import Named, NodeGroup

EXIT_CODES = (
    (0, "done"),
    (1, "the build failed for a reason that is none of these; of `diff`: there are differences"),
    (2, "usage: the command line is not understood"),
    (3, "configuration: profiles/, overlays/ or cloud-init/ cannot be built, or there is no room"),
    (4, "download or verification of something fetched"),
    (5, "a tool is missing; `doctor` says which"),
    (6, "busy: another build has what this one needs"),
    (7, "flashing was refused, and nothing was written"),
    (8, "`verify`, `diff`, `boot`: an image does not agree with its manifest"),
    (130, "interrupted (Ctrl-C); 143 when told to end by SIGTERM"),
)

EPILOG = """\b
Examples:
  pimu-build node-003 --role worker        build output/node-003.img
  pimu-build node-004 node-005 --role worker
  pimu-build plan node-003 --role worker   what is baked in, and who asked for it
  pimu-build render node-003 --role worker what its guest's seed disk holds, for use by hand
  pimu-build verify output/node-003.img    prove the image by its manifest
  pimu-build boot output/node-003.img      its console, on an emulated Pi
  pimu-build flash output/node-003.img /dev/sdX
  pimu-build diff old.img output/node-003.img
  pimu-build export dnsmasq                what the router wants to know

\b
Exit codes:
""" + "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES)

COMMANDS = {
    "build": Named("images", "build_command", "Build images (the word `build` may be left out)."),
    "plan": Named("images", "plan_command", "Show what would be baked in, and who asked for it."),
    "render": Named("images", "render_command", "Show cloud-init/ as NODE's guest gets it, or write it out."),
    "verify": Named("images", "verify_command", "Prove an image, or a flashed disk, by its manifest."),
    "boot": Named("booting", "boot_command", "Open an image's console on an emulated Pi."),
    "flash": Named("disks", "flash_command", "Write an image to the disk DEVICE, and read it back."),
    "list-disks": Named("disks", "list_command", "List disks, and say which could be flashed."),
    "diff": Named("papers", "diff_command", "Tell what differs between two images."),
    "export": Named("papers", "export_command", "Print names, MAC addresses and addresses for the router."),
    "publish": Named("publishing", "publish_command", "Gather images that anybody may have, with their papers."),
    "explain": Named("explain", "explain_command", "Explain a key of profiles/, or list all keys."),
    "doctor": Named("upkeep", "doctor_command", "Look whether this machine is ready."),
    "cache": Named("cache", "cache_group", "Show, check or empty the cache."),
    "fetch": Named("upkeep", "fetch_command", "Fill the cache, so that a later build may be --offline."),
    "lock": Named("upkeep", "lock_command", "Show or renew pimu.lock: what exactly is fetched."),
    "k3s-ca": Named("upkeep", "k3s_ca_command", "Make the certificate authorities of the k3s cluster."),
    "completion": Named("upkeep", "completion_command", "Print a shell completion script."),
}


@click.group(
    cls=NodeGroup,
    named=COMMANDS,
    epilog=EPILOG,
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
