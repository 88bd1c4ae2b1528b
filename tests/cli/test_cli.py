"""The command line from outside: what it prints where, how it ends, and what it takes for a node."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete

from builder import errors
from builder.cli.commands import COMMANDS, EXIT_CODES, pimu_build
from builder.cli.terminal import Terminal
from builder.host.run import run

README = Path(__file__).parents[2] / "README.md"
WORDS = list(COMMANDS)

Run = Callable[..., int]
Output = pytest.CaptureFixture[str]


def ending_in(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds the command `fail`, which ends in `error`."""

    def fail() -> None:
        raise error

    command = verbose(click.command("fail")(fail))
    monkeypatch.setitem(pimu_build.commands, "fail", command)


def verbose(command: click.Command) -> click.Command:
    command.params.append(
        click.Option(
            ["-v"],
            is_flag=True,
            expose_value=False,
            callback=lambda ctx, _, on: ctx.ensure_object(Terminal).set_verbosity(int(on)),
        )
    )
    return command


def test_the_list_of_commands_says_what_each_command_says_of_itself() -> None:
    for name, command in COMMANDS.items():
        loaded = command.load()
        assert (loaded.name, loaded.get_short_help_str(100)) == (name, command.help)


def test_the_help_imports_no_command() -> None:
    """A person waits for it: with all that a build needs it would take three times as long."""
    program = "import sys; from builder.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    said = run([sys.executable, "-c", program]).stderr.decode().split()
    assert "builder.cli.commands" in said
    assert not {"pydantic", "jinja2", "yaml", "requests", "builder.cli.images"} & set(said)


class TestWords:
    def test_a_first_word_that_is_no_command_is_a_node(self, pimu: Run, capsys: Output) -> None:
        assert pimu("node-003", "--role", "nobody") == 3
        assert "there is no role nobody" in capsys.readouterr().err

    def test_options_may_come_before_the_node(self, pimu: Run, capsys: Output) -> None:
        assert pimu("--role", "nobody", "node-003") == 3
        assert "there is no role nobody" in capsys.readouterr().err

    @pytest.mark.parametrize("word", WORDS)
    def test_a_command_word_cannot_be_a_node(self, word: str, pimu: Run, capsys: Output) -> None:
        for before in (["build"], ["node-003"], ["plan"]):
            assert pimu(*before, word) == 2
            assert f"{word!r} is a command" in capsys.readouterr().err

    def test_a_command_word_is_refused_as_a_file_of_a_node_too(
        self, pimu: Run, project_folder: Path, capsys: Output
    ) -> None:
        (project_folder / "profiles/nodes/verify.yaml").write_text("role: worker\n")
        assert pimu("plan", "node-003", "--role", "worker") == 3
        assert "profiles/nodes/verify.yaml" in capsys.readouterr().err

    def test_a_slip_of_the_finger_is_not_a_node(self, pimu: Run, capsys: Output) -> None:
        assert pimu("doctr") == 2
        assert "`pimu-build doctor`" in capsys.readouterr().err

    def test_a_node_may_resemble_a_command_when_it_has_a_file_or_build_is_said(
        self, pimu: Run, project_folder: Path, capsys: Output
    ) -> None:
        assert pimu("build", "plan9", "--role", "nobody") == 3
        (project_folder / "profiles/nodes/plan9.yaml").write_text("role: nobody\n")
        assert pimu("plan9") == 3
        assert "no command" not in capsys.readouterr().err

    @pytest.mark.parametrize(
        "words", [("plan",), ("node-003", "--jobs", "0"), ("verify", "absent.img"), ("--nonsense",)]
    )
    def test_what_is_not_understood_says_where_to_read(self, words: tuple[str, ...], pimu: Run, capsys: Output) -> None:
        assert pimu(*words) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert "--help`" in err


class TestHelp:
    def test_nothing_at_all_is_a_cry_for_help(self, pimu: Run, capsys: Output) -> None:
        assert pimu() == 0
        out, err = capsys.readouterr()
        assert "Examples:" in out
        assert err == ""

    def test_every_command_has_a_line_that_is_not_cut_off(self, pimu: Run, capsys: Output) -> None:
        pimu("--help")
        listed = capsys.readouterr().out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
        assert [line.split()[0] for line in listed] == WORDS
        assert not [line for line in listed if line.endswith("...")]

    @pytest.mark.parametrize("word", WORDS)
    def test_every_command_explains_itself(self, word: str, pimu: Run, capsys: Output) -> None:
        assert pimu(word, "--help") == 0
        assert capsys.readouterr().out.startswith(f"Usage: pimu-build {word} ")

    def test_exit_codes_are_told_the_same_everywhere(self, pimu: Run, capsys: Output) -> None:
        pimu("--help")
        shown = capsys.readouterr().out
        readme = README.read_text()
        for code, meaning in EXIT_CODES:
            assert f"  {code:<4} {meaning}" in shown
            assert f"| {code} | {meaning} |" in readme
        ours = {kind.exit_code for kind in errors.PimuError.__subclasses__()}
        assert ours <= {code for code, _ in EXIT_CODES}

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_completion_script(self, shell: str, pimu: Run, capsys: Output) -> None:
        assert pimu("completion", shell) == 0
        assert "_PIMU_BUILD_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "started", "offered"),
    [([], "no", ["node-001"]), ([], "do", ["doctor"]), (["node-001", "--role"], "wo", ["worker"])],
)
def test_shells_complete_commands_nodes_and_roles(
    words: list[str], started: str, offered: list[str], project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project_folder)
    completion = BashComplete(pimu_build, {}, "pimu-build", "_PIMU_BUILD_COMPLETE")
    assert [item.value for item in completion.get_completions(words, started)] == offered


class TestEndings:
    @pytest.mark.parametrize(
        ("kind", "status"),
        [
            (errors.BuildError, 1),
            (errors.UsageError, 2),
            (errors.ConfigurationError, 3),
            (errors.DownloadError, 4),
            (errors.MissingToolError, 5),
            (errors.BusyError, 6),
            (errors.FlashRefusedError, 7),
            (errors.VerifyMismatchError, 8),
        ],
    )
    def test_an_expected_failure_is_two_lines(
        self, kind: type[errors.PimuError], status: int, pimu: Run, capsys: Output, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ending_in(kind("is wrong", where="a/file.yaml:3", hint="do this"), monkeypatch)
        assert pimu("fail") == status
        assert capsys.readouterr() == ("", "error: a/file.yaml:3: is wrong\n  do this\n")

    def test_an_unexpected_failure_is_one_line_and_a_file(
        self, pimu: Run, project_folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ending_in(ZeroDivisionError("oh"), monkeypatch)
        monkeypatch.setattr("tempfile.tempdir", str(project_folder))
        assert pimu("fail") == 1
        (written,) = project_folder.glob("*.traceback")
        assert "in fail" in written.read_text()
        err = capsys.readouterr().err
        assert err.startswith("error: internal error: ZeroDivisionError: oh\n")
        assert str(written) in err
        assert "Traceback" not in err

    def test_verbose_shows_the_traceback(self, pimu: Run, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
        ending_in(ZeroDivisionError("oh"), monkeypatch)
        assert pimu("fail", "-v") == 1
        assert "Traceback" in capsys.readouterr().err

    def test_a_full_disk_is_said_like_that(self, pimu: Run, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
        ending_in(OSError(28, "No space left on device", "output/x"), monkeypatch)
        assert pimu("fail") == errors.DiskFullError.exit_code
        assert capsys.readouterr().err == (
            "error: output/x: no room is left\n  make room, or name other folders: --output, PIMU_CACHE\n"
        )

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_ends_what_we_started(self, number: signal.Signals, status: int, tmp_path: Path) -> None:
        """A worker thread waits for a tool, the main thread for the worker, as in a build."""
        program = f"""
import sys, click
from concurrent.futures import ThreadPoolExecutor
from builder.cli import main
from builder.cli.commands import pimu_build
from builder.host.run import run

@pimu_build.command("wait")
def wait():
    with ThreadPoolExecutor() as pool:
        pool.submit(run, ["sh", "-c", "echo $$ > {tmp_path}/pid; exec sleep 60"]).result()

sys.exit(main(["wait"]))
"""
        argv = ["env", "--default-signal", sys.executable, "-c", program]  # a shell's background jobs ignore SIGINT
        process = subprocess.Popen(argv, stderr=subprocess.PIPE)
        pid_file = tmp_path / "pid"
        while not (pid_file.exists() and pid_file.read_text().strip()):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate(timeout=10)
        assert (process.returncode, err.decode().startswith("error: interrupted")) == (status, True)
        tool = Path("/proc", pid_file.read_text().strip())
        deadline = time.monotonic() + 5
        while tool.exists() and time.monotonic() < deadline:  # dead, and init has yet to notice
            time.sleep(0.02)
        assert not tool.exists()

    def test_a_reader_that_goes_away_is_no_failure_to_talk_about(self, project_folder: Path) -> None:
        program = "import builder.cli, sys; sys.exit(builder.cli.main(['plan', 'node-003', '--role', 'worker']))"
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=project_folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(10) == 1
        assert process.stderr.read() == b""
        process.stderr.close()


class TestPlan:
    def test_one_line_per_edit_with_feature_and_file(self, pimu: Run, capsys: Output) -> None:
        assert pimu("plan", "node-003", "--role", "worker") == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert any("root:/etc/hostname" in line and "[hostname]" in line for line in out.splitlines())

    def test_json(self, pimu: Run, capsys: Output) -> None:
        assert pimu("plan", "node-003", "--role", "worker", "--json") == 0
        assert json.loads(capsys.readouterr().out)["settings"]["hostname"] == "node-003"

    def test_writes_nothing(self, pimu: Run, project_folder: Path) -> None:
        before = sorted(project_folder.rglob("*"))
        pimu("plan", "node-003", "--role", "worker")
        assert sorted(project_folder.rglob("*")) == before


class TestBadImages:
    def test_an_image_without_manifest(self, pimu: Run, project_folder: Path, capsys: Output) -> None:
        (project_folder / "x.img").touch()
        assert pimu("verify", "x.img") == 3
        assert "x.manifest.json: there is no manifest" in capsys.readouterr().err

    def test_a_manifest_that_is_none(self, pimu: Run, project_folder: Path, capsys: Output) -> None:
        (project_folder / "x.img").touch()
        (project_folder / "x.manifest.json").write_text("{}")
        assert pimu("boot", "x.img") == 3
        assert "x.manifest.json" in capsys.readouterr().err
