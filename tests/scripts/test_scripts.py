"""Commands from `-c`, `-x`, startup files and a pipe."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from tdb.errors import in_words
from tdb.files import home
from tdb.shell.bugs import logged, was_interrupted
from tests.scripts.conftest import Place


def test_an_error_ends_the_script_and_says_where(place: Place) -> None:
    place.write(
        "look.tdb",
        """
        # take a step
        step

        p step ;; p "a;;b"   # not a comment for Python's sake
        stepp
        step
        """,
    )
    status, out, error = place.tdb("-x", "look.tdb", "-c", "p 'not reached'", "loop.py", "50", stdin="p 'nor this'")
    assert status == 2
    assert error == "look.tdb:6: *** unknown command 'stepp' (nor Python). Did you mean: step, pystep, state\n"
    assert [line for line in str(out).splitlines() if not line.startswith(("> ", "-> "))] == [
        "(tdb) step",
        '(tdb) p step ;; p "a;;b"   # not a comment for Python\'s sake',
        "1",
        "'a;;b'",
        "(tdb) stepp",
    ]


def test_on_error_continue_runs_the_rest_and_still_fails(place: Place) -> None:
    place.write("look.tdb", "step\nstepp\nassert_nothing\nstep\n")
    ended = place.tdb(
        "--on-error", "continue", "-c", "p 1/0 ;; p 'cut'", "-x", "look.tdb", "-c", "p step", "loop.py", "50"
    )
    assert ended.status == 2
    assert ended.out.endswith("\n2\n")
    assert "cut" not in ended.out
    assert [line.partition(" ")[0] for line in ended.error.splitlines()] == ["***", "look.tdb:2:", "look.tdb:3:"]


def test_commands_and_files_run_in_the_order_given_and_then_what_is_piped_in(place: Place) -> None:
    place.write("look.tdb", "p 'second'\nsource inner.tdb\n")
    place.write("inner.tdb", "p 'third'\n")
    arguments = ["-c", "p 'first'", "-x", "look.tdb", "-c", "p 'fourth'"]
    ended = place.tdb(*arguments, "loop.py", "50", stdin="# piped\np 'fifth'\n\np 'sixth'")
    assert ended.status == 0
    said = [line for line in ended.out.splitlines() if not line.startswith("(tdb)")]
    assert said == ["'first'", "'second'", "'third'", "'fourth'", "'fifth'", "'sixth'"]
    assert "fifth" not in place.tdb("--batch", *arguments, "loop.py", "50", stdin="p 'fifth'").out
    assert "fifth" in place.tdb("--batch", "loop.py", "50", stdin="p 'fifth'").out  # there is nothing else to run


def test_errors_in_files_that_files_source(place: Place) -> None:
    place.write("outer.tdb", "source inner.tdb\n")
    place.write("inner.tdb", "\nstep 0\n")
    status, _, error = place.tdb("-x", "outer.tdb", "loop.py", "50")
    assert status == 2
    assert str(error).splitlines() == [
        "inner.tdb:2: *** step takes a number of steps, not '0'. Example: step 5",
        "outer.tdb:1: *** inner.tdb ended at its first failing command",
    ]


def test_errors_in_what_is_piped_in(place: Place) -> None:
    status, out, error = place.tdb("loop.py", "50", stdin="step\n\nstep x\np 'not reached'\n")
    assert (status, error) == (2, "<stdin>:3: *** step takes a number of steps, not 'x'. Example: step 5\n")
    assert "not reached" not in str(out)


def test_a_file_may_begin_with_a_byte_order_mark(place: Place) -> None:
    (place.folder / "marked.tdb").write_text("step 2\nassert step == 2\n", encoding="utf-8-sig")
    assert place.tdb("-x", "marked.tdb", "loop.py", "50").status == 0


def test_files_that_are_no_text(place: Place) -> None:
    (place.folder / "picture.tdb").write_bytes(b"\x89PNG\xff\xfe")
    for file, error in [("picture.tdb", "codec can't decode byte"), (str(place.folder), "Is a directory")]:
        ended = place.tdb("-x", file, "loop.py", "50")
        assert ended.status == 2
        assert ended.error.startswith(f"*** cannot read {file}: ")
        assert error in ended.error
        assert "Traceback" not in ended.error


def test_startup_files(place: Place) -> None:
    user = place.folder / place.write("config/tdb/tdbrc", "set figures off\np 'user'\n")
    here = place.folder / place.write(".tdbrc", "p 'folder'\nstepp\n")
    ended = place.tdb("-c", "set figures", "loop.py", "5")
    assert ended.out.splitlines() == ["figures off", "'user'", "'folder'", "figures off"]
    assert ended.error.splitlines() == [
        f"running {user}; --nx skips it",
        "running .tdbrc; --nx skips it",
        ".tdbrc:2: *** unknown command 'stepp' (nor Python). Did you mean: step, pystep, state",
    ]
    skipped = place.tdb("--nx", "-c", "set figures", "loop.py", "5")
    assert (skipped.status, skipped.out, skipped.error) == (0, "figures auto\n", "")

    here.chmod(0o666)
    ended = place.tdb("-c", "quit", "loop.py", "5")
    assert (ended.status, ended.out) == (0, "figures off\n'user'\n")
    assert ended.error.splitlines()[1].startswith(".tdbrc is not run: others may write it")

    if os.geteuid() != 0:  # root may read everything
        here.chmod(0o000)
        ended = place.tdb("-c", "quit", "loop.py", "5")
        assert "*** cannot read .tdbrc: Permission denied" in ended.error


def test_a_home_that_cannot_be_looked_into_has_no_startup_file(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    unreachable = str(place.folder / ("x" * 300))  # to root, too
    ended = place.tdb("-c", "step", "loop.py", "5", HOME=unreachable, XDG_CONFIG_HOME="", XDG_STATE_HOME="")
    assert (ended.status, ended.error) == (0, "")
    assert ended.out.startswith("> step 1")
    monkeypatch.delenv("HOME")
    known = pwd.getpwuid(os.getuid()).pw_dir
    assert home() == Path(known)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # as in a container that runs as some number
    assert home() == Path("/")


def test_a_script_that_cannot_be_read_is_told_from_one_that_is_not_there(place: Place) -> None:
    unreachable = "x" * 300
    for name, words in [
        ("nosuch.py", "no such script: nosuch.py"),
        ("loop.py/x.py", "no such script: loop.py/x.py"),
        (unreachable, f"cannot read {unreachable}: File name too long"),
    ]:
        ended = place.tdb("-c", "step", name)
        assert (ended.status, ended.out) == (2, "")
        assert ended.error.startswith(f"*** {words}")
        assert "Traceback" not in ended.error
    if os.geteuid() != 0:  # root may read everything
        (place.folder / "loop.py").chmod(0o000)
        assert place.tdb("-c", "step", "loop.py").error == "*** cannot read loop.py: Permission denied\n"
    assert place.tdb("-x", unreachable, "nosuch.py").error.startswith("*** no such script")
    place.write("loop.py", "")
    assert place.tdb("-x", unreachable, "loop.py").error.startswith("*** no such file")


def test_a_line_of_a_file_ends_where_one_that_is_piped_in_does(place: Place) -> None:
    lines = "p len('a\u2028b')\np len('a\x0cb\x85')\n\np 'last'"
    place.write("look.tdb", lines)
    piped = place.tdb("loop.py", "5", stdin=lines)
    assert (piped.status, str(piped.out).split()) == (0, ["3", "4", "'last'"])
    for source in (["-x", "look.tdb"], ["-c", "source look.tdb"]):
        ended = place.tdb("--batch", *source, "loop.py", "5")
        assert (ended.status, ended.error) == (0, "")
        answers = [line for line in str(ended.out).split("\n") if not line.startswith("(tdb)")]
        assert answers == ["3", "4", "'last'", ""]


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_a_bug_in_tdb_is_an_error_of_one_line_and_a_traceback_in_a_file(place: Place, json: list[str]) -> None:
    place.write("broken/__init__.py", "")
    place.write(
        "broken/commands.py",
        """
        from tdb.commands import command


        @command()
        def fall(session):
            "Fall over."
            raise KeyError("gone")
        """,
    )
    place.write("broken-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    place.write("broken-1.dist-info/entry_points.txt", "[tdb.commands]\nbroken = broken.commands\n")
    ended = place.tdb(*json, "-c", "fall", "loop.py", "5")
    log = place.folder / "state" / "tdb" / "tdb.log"
    assert ended.status == 1
    assert ended.error == f"*** a bug in tdb: KeyError: 'gone'. Its traceback is in {log}\n"
    assert "in fall" in log.read_text()
    assert ended.out.count("\n") == len(json)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")]
)
def test_an_answer_that_takes_too_much_memory_is_no_bug(tmp_path: Path, error: Exception) -> None:
    told = logged(error, tmp_path / "tdb.log")
    assert str(told) == f"there is not enough memory for this answer. {in_words(error)}"
    assert not [*tmp_path.iterdir()]


def test_a_ctrl_c_that_came_into_an_import_is_no_bug() -> None:
    failed = ImportError("initialization failed")
    assert not was_interrupted(failed)
    failed.__cause__ = KeyboardInterrupt()
    assert was_interrupted(failed)


@pytest.mark.parametrize(
    ("call", "options"), [("tdb.set_trace()", []), ("tdb.set_trace()", ["-m", "tdb"]), ("breakpoint()", ["-m", "tdb"])]
)
def test_a_worker_process_has_no_terminal_and_goes_on(place: Place, call: str, options: list[str]) -> None:
    script = place.write(
        "train.py",
        f"""
        import multiprocessing
        import tdb

        def load():
            for _ in range(3):
                {call}
            print("loaded", flush=True)

        if __name__ == "__main__":
            worker = multiprocessing.get_context("fork").Process(target=load)
            worker.start()
            worker.join()
        """,
    )
    ended = place.python(*options, *(["-c", "continue"] if options else []), script)
    refusals = [line for line in ended.error.splitlines() if line.startswith("***")]
    assert (ended.status, len(refusals)) == (0, 1)
    assert refusals[0].startswith(f"*** {call.removeprefix('tdb.')} does not stop in a worker process")
    assert "loaded" in ended.out


def test_set_trace_with_stdin_closed_ends_as_with_nothing_to_read(place: Place) -> None:
    script = place.write("train.py", "import sys\nimport tdb\n\nsys.stdin = None\ntdb.set_trace()\n")
    ended = place.python(script)
    assert (ended.status, ended.error) == (1, "training was told to stop\n")


def test_set_trace_where_stdin_cannot_be_read_says_so_and_ends(place: Place) -> None:
    script = place.write(
        "train.py",
        """
        import io
        import sys
        import tdb

        class Captured(io.StringIO):
            def readline(self, size=-1):
                raise OSError("output is captured: use -s")

        sys.stdin = Captured()
        tdb.set_trace()
        """,
    )
    ended = place.python(script)
    assert (ended.status, ended.error) == (
        1,
        "*** set_trace() cannot read commands: output is captured: use -s\ntraining was told to stop\n",
    )
