"""The reference as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from builder.reference.keys import Key, flow, keys
from builder.reference.kinds import KINDS

_HEAD = """\
# Reference of the keys in profiles/

`make reference` writes this page from the models that read the files. `pimu-build explain KEY` prints the same for one
key.

A size is a number of bytes with its unit: `512MiB`, `64GiB`, `240GB`. `source.apt[].uri` is the key `uri` in each entry
of the list `source.apt`. "Only with" names the value beside which a key may stand.

## For editors

`docs/schema/` has a JSON schema for each kind of file; `pimu-build explain --json-schema KIND` prints it. An editor
with yaml-language-server, such as VS Code with the extension YAML, then completes keys and shows faults. Tell it once
in the settings of the project, for VS Code in `.vscode/settings.json`:

```json
{
  "yaml.schemas": {
    "docs/schema/cluster.json": "profiles/cluster.yaml",
    "docs/schema/node.json": ["profiles/nodes/*.yaml", "profiles/roles/*.yaml", "profiles/presets/*.yaml"],
    "docs/schema/base.json": "profiles/bases/*.yaml",
    "docs/schema/guest.json": "profiles/guests/*.yaml"
  }
}
```

Or say it in the first line of a file: `# yaml-language-server: $schema=../../docs/schema/node.json`. The path begins at
the file's own folder.
"""


def page() -> str:
    """docs/reference.md."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for kind in KINDS.values():
        yield f"## {kind.name}: {kind.files}\n\n{kind.sentence}\n"
        yield "| key | meaning | type | default | example |\n|---|---|---|---|---|"
        yield from (_row(key) for key in keys() if key.kind is kind)
        yield ""


def _row(key: Key) -> str:
    only = f" Only with `{'` or `'.join(key.when)}`." if key.when else ""
    default = key.default_text if key.is_required or key.default is None else f"`{key.default_text}`"
    cells = (f"`{key.path}`", f"{key.sentence}{only}", key.type, default, f"`{flow(key.examples[0])}`")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
