"""Hostile templates: none reaches Python, the host or another process, and none takes time or memory without end.

Each is rendered as a project's templates are: by `rendering`, in the process that it makes.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder import limits
from builder.errors import ConfigurationError
from builder.features.swap.settings import Swap
from builder.features.variables import plain
from builder.host.rendering import rendering
from builder.template import strict
from builder.template.strict import Plain, Render

NODE = plain({"node": Swap(size=1 << 30, reserve="33%"), "words": ["a", "b"]})
REFUSED = "may not be used in a template"
UNKNOWN = "there is no variable"

ESCAPES = {
    "a pickle through a model": ("{{ node.parse_raw('cos', proto='pickle', allow_pickle=True) }}", "has no parse_raw"),
    "a file of the host through a model": ("{{ node.parse_file('/etc/hostname') }}", "has no parse_file"),
    "a model's copy": ("{{ node.copy(update={'size': 7}) }}", REFUSED),
    "a model's model_copy": ("{{ node.model_copy(update={'size': 7}) }}", "has no model_copy"),
    "a model's model_construct": ("{{ node.model_construct(size=1) }}", "has no model_construct"),
    "a model's model_dump_json": ("{{ node.model_dump_json() }}", "has no model_dump_json"),
    "a model's model_validate_json": ("{{ node.model_validate_json('{}') }}", "has no model_validate_json"),
    "a model's fields": ("{{ node.model_fields }}", "has no model_fields"),
    "a class": ("{{ ''.__class__.__mro__ }}", REFUSED),
    "a class by subscript": ("{{ ''['__class__'] }}", REFUSED),
    "a class by attr": ("{{ ''|attr('__class__') }}", REFUSED),
    "a class by attr of a list": ("{{ words|map(attribute='__class__')|list }}", REFUSED),
    "a class for sorting": ("{{ words|sort(attribute='__class__.__name__') }}", REFUSED),
    "a class for grouping": ("{{ words|groupby('__class__') }}", REFUSED),
    "a class by an escaped name": (r"{{ ''['\x5f_class__'] }}", REFUSED),
    "the code of a function": ("{{ range.__code__ }}", REFUSED),
    "CVE-2016-10745: str.format": ("{{ '{0.__class__.__init__.__globals__}'.format(node) }}", REFUSED),
    "CVE-2019-10906: str.format_map": ("{{ '{a.__class__.__mro__}'.format_map({'a': node}) }}", REFUSED),
    "CVE-2024-56326: a stored format": ("{% set f = '{0.__class__}'.format %}{{ f(node) }}", REFUSED),
    "CVE-2024-56326: a format in a mapping": ("{{ {'f': '{0.__class__}'.format}.f(node) }}", REFUSED),
    "CVE-2025-27516: format by attr": ("{{ ('{0.__class__}'|attr('format'))(node) }}", REFUSED),
    "CVE-2025-27516: format by map": ("{{ ['{0.__class__}']|map(attribute='format')|list }}", REFUSED),
    "format of safe text": ("{{ ('{0.__class__}'|safe).format(node) }}", REFUSED),
    "cycler": ("{{ cycler(1).next() }}", UNKNOWN),
    "joiner": ("{{ joiner() }}", UNKNOWN),
    "lipsum": ("{{ lipsum.__globals__['os'].popen('id').read() }}", UNKNOWN),
    "namespace": ("{{ namespace.__init__.__globals__ }}", REFUSED),
    "a namespace's innards": ("{% set n = namespace(a=1) %}{{ n._Namespace__attrs }}", "_Namespace__attrs"),
    "dict's constructors": ("{{ dict.fromkeys('ab') }}", REFUSED),
    "dict's mro": ("{{ dict.mro() }}", REFUSED),
    "the template itself": ("{{ self._TemplateReference__context }}", REFUSED),
    "a macro's environment": ("{% macro m() %}{% endmacro %}{{ m._environment }}", REFUSED),
    "a loop's innards": ("{% for x in words %}{{ loop._iterator }}{% endfor %}", REFUSED),
    "a generator's frame": ("{{ (words|map('upper')).gi_frame }}", REFUSED),
    "an undefined's innards": ("{{ missing.__init__.__globals__ }}", UNKNOWN),
    "an undefined in a list": ("{{ [node.nme] }}", "node has no nme"),
    "a variable that is no plain data": ("{{ caller.__globals__ }}", UNKNOWN),
    "bytes": ("{{ ''.encode('utf-7') }}", REFUSED),
    "changing a list": ("{{ words.append(1) }}", REFUSED),
    "changing a mapping": ("{{ node.update({'size': 7}) }}", REFUSED),
    "chance": ("{{ words|random }}", "random"),
    "an address in memory": ("{{ words.index }}", "no value to be written"),
    "an address in memory, quoted": ("{{ words.index | sh }}", "no value to be written"),
    "an object for YAML": ("{{ [words.index] | yaml }}", "no value to be written"),
    "another template": ("{% include '/etc/passwd' %}", "no loader"),
    "another template's macros": ("{% from '/etc/passwd' import x %}", "no loader"),
    "a statement of an extension": ("{% do words.append(1) %}", "unknown tag 'do'"),
    "half of a surrogate pair": (r"{{ '\ud800' }}", "surrogate"),
}

FLOODS = {
    "two loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a loop that writes": "{% for i in range(99999) %}{% for j in range(999) %}{{ 'x' * 99 }}{% endfor %}{% endfor %}",
    "a macro that calls itself twice": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "a recursive loop": "{% for i in [[1]] recursive %}{{ loop([[1]]) }}{{ loop([[1]]) }}{% endfor %}",
    "a power": "{{ 10**(10**10) }}",
    "a power of the variables": "{{ node.size**node.size }}",
    "a text a billion times": "{{ ('x' * 10**10) | length }}",
    "a list a billion times": "{{ ([1] * 10**10) | length }}",
    "a text that doubles": "{% set n = namespace(t='x') %}{% for i in range(60) %}{% set n.t=n.t~n.t %}{% endfor %}",
    "center": "{{ 'x'|center(10**10) }}",
    "center of Python": "{{ 'x'.center(10**10) }}",
    "ljust": "{{ 'x'.ljust(10**10) }}",
    "zfill": "{{ '1'.zfill(10**10) }}",
    "expandtabs": "{{ '\t'.expandtabs(2**31 - 1) }}",
    "replace": "{{ ('x' * 99999).replace('', 'y' * 99999) }}",
    "join": "{{ (['x' * 99999] * 99999) | join }}",
    "indent": "{{ ('x\n' * 99999) | indent(99999) }}",
    "a wide number": "{{ '%1000000000000d' | format(1) }}",
    "a precise number": "{{ '%.2000000000f' | format(1) }}",
    "a wide number by the operator": "{{ '%2000000000d' % 1 }}",
    "a long range": "{{ range(10**9) | list }}",
    "batch": "{{ [1] | batch(10**10, 0) | list }}",
    "slice": "{{ [1] | slice(10**10) | list }}",
    "a number to many digits": "{{ (2**(10**8)) | string }}",
    "lists in lists": "{{ " + "[" * 5000 + "]" * 5000 + " }}",
    "brackets": "{{ " + "(" * 50000 + "1" + ")" * 50000 + " }}",
    "words of YAML": "{{ range(99999999) | list | yaml }}",
    "wrapping": "{{ ('a ' * 99999999) | wordwrap(1) }}",
    "links": "{{ ('http://a.b/ ' * 9999999) | urlize }}",
    "tags": "{{ ('<' * 9999999) | striptags }}",
    "more text than a template has": "x" * (limits.TEMPLATE + 1),
}


@pytest.fixture
def bounded() -> Iterator[Render]:
    with rendering() as render:
        yield render


def fault_of(render: Render, text: str, variables: dict[str, Plain]) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        render(text, "cloud-init/zz.j2", variables)
    return caught.value


@pytest.mark.parametrize(("text", "error"), ESCAPES.values(), ids=ESCAPES)
def test_a_template_reaches_nothing_but_its_data(text: str, error: str, bounded: Render) -> None:
    assert isinstance(NODE, dict)
    fault = fault_of(bounded, text, NODE)
    assert error in fault.message
    assert fault.where.startswith("cloud-init/zz.j2")
    assert not {"object", "class", "instance", "0x"} & set(str(fault).replace("__class__", "").split())


@pytest.mark.parametrize("text", FLOODS.values(), ids=FLOODS)
def test_a_template_takes_neither_time_nor_memory_without_end(text: str, bounded: Render) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    used = sum(os.times()[:4])
    assert isinstance(NODE, dict)
    fault = fault_of(bounded, text, NODE)
    assert fault.where.startswith("cloud-init/zz.j2")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # kilobytes
    assert sum(os.times()[:4]) - used < limits.TEMPLATE_SECONDS + 4


def test_the_line_of_an_endless_loop_is_told(bounded: Render) -> None:
    fault = fault_of(bounded, "a\n\n{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", {})
    assert str(fault) == f"cloud-init/zz.j2:3: takes more than {limits.TEMPLATE_SECONDS} s of processor time"


def test_the_next_template_of_the_same_process_has_its_own_time(bounded: Render) -> None:
    for _ in range(3):
        assert bounded("{% for i in range(99999) %}{% endfor %}ok", "t", {}) == "ok"


@pytest.mark.parametrize("name", sorted(strict._ENVIRONMENT.filters))
def test_each_filter_needs_no_file_once_the_process_is_confined(name: str, bounded: Render) -> None:
    """A module that Python reads late would be an error that speaks of Python's own files."""
    try:
        said = bounded(f"{{{{ 'a' | {name} }}}}", "t", {})
    except ConfigurationError as error:
        said = str(error)
    assert ".py" not in said
    assert "open files" not in said


def test_a_template_that_got_out_could_open_run_and_write_nothing(
    bounded: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a filter gave a template Python's own functions."""
    tmp_path.chmod(0o777)
    made = tmp_path / "made"
    monkeypatch.setitem(strict._ENVIRONMENT.filters, "run", os.system)
    monkeypatch.setitem(strict._ENVIRONMENT.filters, "read", lambda name: Path(name).read_text())
    monkeypatch.setitem(strict._ENVIRONMENT.filters, "fork", lambda _: os.fork())
    assert "Too many open files" in str(fault_of(bounded, "{{ '/etc/hostname' | read }}", {}))
    assert "unavailable" in str(fault_of(bounded, "{{ 1 | fork }}", {}))
    assert bounded(f"{{{{ 'touch {made}' | run }}}}", "t", {}) != "0"
    assert not made.exists()


@pytest.mark.parametrize("name", ["cloud-init/{x!r}.j2", 'a"+1/0+".j2', "a\\.j2", "'''.j2", "\n.j2", "{{ 1/0 }}.j2"])
def test_the_name_of_a_template_is_no_code(name: str, bounded: Render) -> None:
    """CVE-2024-56201: the name was a part of the code that is compiled."""
    assert bounded("{% block a %}{{ 1 + 1 }}{% endblock %}", name, {}) == "2"
    with pytest.raises(ConfigurationError) as caught:
        bounded("{% from 'x' import y %}", name, {})
    assert caught.value.where == f"{name}:1"


def test_the_process_ends_with_its_context() -> None:
    with rendering() as render:
        assert render("{{ 1 }}", "t", {}) == "1"
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    deadline = time.monotonic() + 10
    while any(Path("/proc", child).exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children
    assert not [child for child in children if Path("/proc", child).exists()]
