"""Uploads from several processes: what each does, one that comes to harm, and the end of them all."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from onewriter.stress import command
from onewriter.stress.audit import Audit
from onewriter.stress.measures import measures, notes
from onewriter.stress.processes import Limits, Share
from onewriter.stress.run import Result, run
from onewriter.stress.settings import Settings
from onewriter.stress.sources import find
from onewriter.stress.tally import TICK_S, Tally
from onewriter.stress.verdict import judge
from onewriter.stress.ways import WAYS, OneLockedConnection, OneWriter, Way
from tests.support.steps import LIMIT_S, wait_until

from .conftest import Stress, environment
from .faulty import Busy, Killed, Late, Loses, NotOpened, Stopped

FILES = 15


def _run(way: type[Way], folder: Path, tmp_path: Path, *, uploaders: int = 4, **limits: float) -> Result:
    settings = Settings(processes=3, uploaders=uploaders)
    path, sources = tmp_path / "file.db", find(folder, seed=0)
    return run(way, path, sources, settings, lambda _: None, limits=Limits(**limits))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.key)
def test_every_way_among_processes(way: type[Way], folder: Path, tmp_path: Path) -> None:
    """Three processes at one file: each has a third of the files, each file an end, and what is done reads back."""
    result = _run(way, folder, tmp_path)
    assert [(share.number, share.files, share.lost) for share in result.shares] == [
        (1, 5, ""),
        (2, 5, ""),
        (3, 5, ""),
    ]
    assert [share.tally.ended for share in result.shares] == [5, 5, 5]
    assert result.tally.failed == result.tally.busy
    assert (result.audit.lost, result.audit.wrong, result.audit.unsound) == ((), (), ())
    assert result.elapsed_s >= max(share.uploaded_s for share in result.shares) > 0
    assert result.commits == result.tally.writes or (way is OneWriter and result.commits > 0)
    if way in {OneWriter, OneLockedConnection}:
        assert {upload.upload for upload in result.tally.done} == set(range(FILES))
        assert result.fairness is not None
        assert 0 < result.fairness <= 1
    assert way.among_processes in result.summary


def test_a_run_of_the_command(stress: Stress, folder: Path, tmp_path: Path) -> None:
    """Status 0; the table and the report say how evenly the processes were served; nothing is left."""
    done = stress("--from", folder, "--processes", "3", "--uploaders", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 processes of 2 threads each, " in done.stdout
    assert re.search(r"│ fairness +│ +[01]\.\d\d │", done.stdout)
    assert max(map(len, done.stdout.splitlines()[3:])) <= 80
    assert "onewriter passed: 15 of 15 uploads done" in done.stdout.replace("\n", " ")
    page = (tmp_path / "onewriter-stress.html").read_text(encoding="utf-8")
    assert "<h1>3 processes of 2 threads each upload 15 files into one SQLite file</h1>" in page
    for result in WAYS:
        assert page.count(f'<th scope="row">{result.title}, ') == 3
    assert "How evenly the processes were served" in page
    assert page.count("<svg") == 5
    assert [path.name for path in tmp_path.iterdir()] == ["onewriter-stress.html"]


def test_one_process_is_as_before(stress: Stress, folder: Path, tmp_path: Path) -> None:
    """Nothing is said of processes where there is one."""
    done = stress("--from", folder, "--processes", "1", "--ways", "onewriter")
    assert done.returncode == 0
    page = (tmp_path / "onewriter-stress.html").read_text(encoding="utf-8")
    for said in (done.stdout, page):
        assert "fairness" not in said
        assert "process by process" not in said.lower()


def test_a_killed_process(folder: Path, tmp_path: Path) -> None:
    """Killed in a transaction: named; the others finish, and all that was acknowledged to anyone is there."""
    result = _run(Killed, folder, tmp_path)
    (lost,) = (share for share in result.shares if share.lost)
    assert lost.lost == "was ended by SIGKILL"
    assert [len(share.tally.done) for share in result.shares if not share.lost] == [5, 5]
    assert (result.audit.lost, result.audit.wrong, result.audit.unsound) == ((), (), ())
    assert result.fairness is None
    assert notes(result) == [f"process {lost.number} was ended by SIGKILL"]
    lines = {measure.label: (measure.values, measure.bad) for measure in measures([result])}
    assert lines["fairness"] == (("none",), (False,))
    assert lines["processes lost"] == (("1",), (True,))
    verdict = judge(result)
    assert re.fullmatch(
        rf"process {lost.number} of 3 was ended by SIGKILL, [0-4] of its 5 uploads done", verdict.reasons[0]
    )
    assert verdict.sentence.startswith("onewriter FAILED: process ")


def test_a_process_lost_beside_it_fails_the_run(folder: Path, tmp_path: Path) -> None:
    """A way that is not judged had a process die: the comparison is spoilt, and onewriter is not to blame."""
    ours = _run(OneWriter, folder, tmp_path)
    (tmp_path / "other").mkdir()
    verdict = judge(ours, _run(Killed, folder, tmp_path / "other"))
    assert not verdict.passed
    assert verdict.sentence.startswith("The run FAILED: onewriter: process ")


def test_a_process_that_hangs(folder: Path, tmp_path: Path) -> None:
    """Stopped for good between two writes: given up after the limit, killed, and named; the others finish."""
    result = _run(Stopped, folder, tmp_path, uploaders=1, still_s=3)
    assert sorted(share.lost for share in result.shares) == ["", "", "hung: no write ended for 3 s"]
    assert [len(share.tally.done) for share in result.shares if not share.lost] == [5, 5]


def test_a_process_that_is_never_ready(folder: Path, tmp_path: Path) -> None:
    """Stopped before it opened the file: the others do not wait for it for ever."""
    result = _run(Late, folder, tmp_path, start_s=6)
    assert "was not ready within 6 s" in {share.lost for share in result.shares}
    assert result.tally.done


def test_processes_that_break(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error that nobody expected is named, its traceback shown, and the report written all the same."""
    assert _command(NotOpened, folder, tmp_path, monkeypatch) == 1
    said = capsys.readouterr()
    reason = "process 1 of 3 broke: ZeroDivisionError: not opened, 0 of its 5 uploads done"
    assert reason in " ".join(said.out.split())
    assert said.err.count("Traceback") == 3
    assert reason in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "way, reasons",
    [
        (Busy, '1 write heard "database is locked"; 1 upload failed (WriteTimeout 1).'),
        (Loses, "1 acknowledged upload lost: empty."),
        (Killed, "was ended by SIGKILL"),
    ],
    ids=["busy", "lost", "killed"],
)
def test_one_process_fails_the_run(
    way: type[Way],
    reasons: str,
    folder: Path,
    tmp_path: Path,
    *,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One busy error, or one lost upload, in one process of three: status 1, in words on the screen."""
    assert _command(way, folder, tmp_path, monkeypatch) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "onewriter FAILED: " in said
    assert reasons in said


def _command(way: type[Way], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(command, "WAYS", (way,))
    request = command.Request(
        folder=folder,
        processes=3,
        uploaders=2,
        chunk_bytes=65_536,
        durability="normal",
        report=tmp_path / "report.html",
        keep=tmp_path / "kept",
        ways="onewriter",
        seed=0,
    )
    return command.stress(request)


def test_fairness_compares_the_same_number_of_writes() -> None:
    """One process did 100 writes evenly in 5 s; the other 200 in 20 s: for 90 writes 4.5 and 9 s."""
    shares = (_share(1, per_tick=1, ticks=100), _share(2, per_tick=0.5, ticks=400))
    result = _result(shares)
    assert result.paces_s == pytest.approx((4.5, 9), abs=TICK_S)
    assert result.fairness == pytest.approx(0.5, abs=0.02)


def test_no_fairness_without_writes() -> None:
    """A process that could not write at all has no pace, and nobody divides by nothing."""
    result = _result((_share(1, per_tick=1, ticks=10), _share(2, per_tick=1, ticks=0)))
    assert (result.paces_s, result.fairness) == ((), None)


def _share(number: int, *, per_tick: float, ticks: int) -> Share:
    done = Counter({tick: int((tick + 1) * per_tick) - int(tick * per_tick) for tick in range(ticks)})
    tally = Tally(writes=done.total(), ticks=+done)
    return Share(
        number=number, files=1, tally=tally, commits=0, uploaded_s=1.0, closed_s=1.0, lost="", trace=""
    )


def _result(shares: tuple[Share, ...]) -> Result:
    return Result(
        key="onewriter",
        title="onewriter",
        summary="",
        files=2,
        elapsed_s=1.0,
        commits=0,
        tally=Tally.of(share.tally for share in shares),
        audit=Audit(0, (), (), ()),
        shares=shares,
    )


def _at_once(_: Path) -> None:
    """While the processes start."""


def _in_the_middle(folder: Path) -> None:
    """When a megabyte has been stored."""

    def stored() -> bool:
        return any(path.stat().st_size > 1e6 for path in folder.glob("onewriter-stress-*/onewriter.db-wal"))

    wait_until(stored, "an upload")


@pytest.mark.parametrize("moment", [_at_once, _in_the_middle])
@pytest.mark.parametrize("to_all", [True, False], ids=["terminal", "kill"])
def test_an_interrupt_ends_them_all(moment: Callable[[Path], None], to_all: bool, tmp_path: Path) -> None:
    """Ctrl-C, which a terminal sends to each process: status 130, one line, no process and no file left."""
    process = _start(tmp_path)
    moment(tmp_path)
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, errors) == (130, "onewriter stress: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_does_not_wait_for_ever(folder: Path, tmp_path: Path) -> None:
    """A worker that cannot stop, here one that is stopped already, is killed; its listener's end shows that it went."""

    def interrupt(_: object) -> None:
        if (tmp_path / "claimed").exists():
            raise KeyboardInterrupt

    settings, limits = Settings(processes=2, uploaders=1), Limits(end_s=1)
    with pytest.raises(KeyboardInterrupt):
        run(Stopped, tmp_path / "file.db", find(folder, seed=0), settings, interrupt, limits=limits)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("worker-")]


def test_no_worker_outlives_its_parent(tmp_path: Path) -> None:
    """The parent is killed, and can tell nobody: the workers find out and stop."""
    process = _start(tmp_path)
    _in_the_middle(tmp_path)
    process.kill()
    # Ends when nobody has the standard error open any more, which the workers share with their parent.
    _, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, errors) == (-signal.SIGKILL, "")


def _start(folder: Path) -> subprocess.Popen[str]:
    """Start a long run of three processes in a group of its own, and return when it begins to upload."""
    process = subprocess.Popen(
        [sys.executable, "-m", "onewriter", "stress", "--processes", "3"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "onewriter: uploading\n":
            break
    return process
