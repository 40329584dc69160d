"""What is written while training."""

import errno
import json
import logging
import math
import threading
import time

import pytest

from exflow.training.full_disk import told_once
from exflow.training.metrics import MetricsWriter, Stopwatch


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_lines_are_json_with_null_for_what_is_not_finite(tmp_path, capsys):
    writer = MetricsWriter(tmp_path, 0, 10)
    writer.write(5, "train", {"loss": 1.5, "nll": math.nan}, examples_per_second=100.0)
    writer.write(5, "validation", {"few_shot/5way_1shot": 0.5})
    writer.progress(5, {"loss": 1.5, "num_skipped": 0.0}, 123.4)
    writer.close()
    assert lines(tmp_path) == [
        {"step": 5, "split": "train", "loss": 1.5, "nll": None, "examples_per_second": 100.0},
        {"step": 5, "split": "validation", "few_shot/5way_1shot": 0.5},
    ]
    assert capsys.readouterr().out == "step 5/10  loss 1.5  123 images/s\n"
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_resuming_drops_what_lies_beyond(tmp_path):
    writer = MetricsWriter(tmp_path, 0, 10)
    for step in (2, 4, 6, 8):
        writer.write(step, "train", {"loss": float(step)})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "spl')  # killed while writing
    writer = MetricsWriter(tmp_path, 5, 10)
    writer.write(6, "train", {"loss": -6.0})
    writer.close()
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(2, 2.0), (4, 4.0), (6, -6.0)]


def test_inactive_writer_writes_nothing(tmp_path, capsys):
    writer = MetricsWriter(tmp_path, 0, 10, active=False)
    writer.write(1, "train", {"loss": 1.0})
    writer.progress(1, {"loss": 1.0}, 1.0)
    writer.say("hello")
    writer.close()
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_progress_bar_on_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    writer = MetricsWriter(tmp_path, 4, 10)
    writer.progress(8, {"loss": 2.25}, 99.6)
    writer.say("a line")
    writer.close()
    out, err = capsys.readouterr()
    assert out.strip() == "a line"
    assert "8/10" in err
    assert "images_per_s=100" in err
    assert "loss=2.25" in err


def test_stopwatch_adds_up_and_pauses():
    watch = Stopwatch(100.0, 50.0)
    with watch.paused():
        stopped = watch.read()
        time.sleep(0.02)
        assert watch.read() == stopped
    time.sleep(0.02)
    wall, cpu = watch.read()
    assert wall >= stopped[0] + 0.02
    assert stopped == (pytest.approx(100, abs=1), pytest.approx(50, abs=1))
    assert 50 <= cpu < 51


def test_a_full_disk_hides_nothing_when_files_are_closed(tmp_path, monkeypatch, capsys):
    writer = MetricsWriter(tmp_path, 0, 10)
    (events,) = writer._tensorboard.all_writers.values()

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(events.event_writer, "flush", full)
        writer.close()
        events.event_writer.close()  # as when the program ends
    events.event_writer._closed = False
    events.event_writer.close()
    assert capsys.readouterr().out == "metrics of the last steps could not be written (No space left on device).\n"


@pytest.mark.parametrize(("number", "heard"), [(errno.ENOSPC, False), (errno.ENOENT, True)])
def test_threads_do_not_tell_of_a_full_disk_too(caplog, monkeypatch, number, heard):
    reported = []
    monkeypatch.setattr(threading, "excepthook", reported.append)

    def write():
        raise OSError(number, "what the system says")

    with told_once():
        try:
            write()
        except OSError:
            logging.getLogger("absl").exception("a save failed")
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert ("a save failed" in caplog.text) is bool(reported) is heard
    assert threading.excepthook == reported.append
