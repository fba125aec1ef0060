"""The bench's own pieces, without a clock: what it sends, how it renews, what it computes, what it promises."""

import re
import subprocess
import sys

import pytest
from pydicom import dcmread

from bench.__main__ import ROWS
from bench.cpu import stat_fields, tree_seconds
from bench.dicom_peers import SendError, log_read
from bench.figures import Figure, Outcome, paired_ratios, percentile
from bench.goals import GOALS, verdicts
from bench.memory import pages_drop
from bench.row_store import lane_ceiling
from bench.row_stow import BOUNDARY, body_make
from bench.run import MEASURES, result_write
from bench.series import RenewError, head_renew, salt_new, series_write
from bench.tell import number_words
from imaging.header import uid_is_valid
from imaging.ingest import dataset_check
from imaging.part10 import part10_split
from medhub.stack import ROOT

UID_TAGS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


def test_what_the_generator_writes_passes_our_check(tmp_path) -> None:
    series = series_write(tmp_path / "ct", slices=3, matrix=32)
    for file in series.files:
        data = file.read_bytes()
        meta, offset = part10_split(data)
        facts = dataset_check(data[offset:], transfer_syntax_uid=meta[0x00020010])
        assert (facts.sop_class_uid, facts.sop_instance_uid) == (meta[0x00020002], meta[0x00020003])
        assert facts.study_uid == series.study_uid
    assert series.size == sum(file.stat().st_size for file in series.files)


def test_the_generator_repeats_itself(tmp_path) -> None:
    first, second = (series_write(tmp_path / name, slices=2, matrix=32) for name in "ab")
    assert first.payloads() == second.payloads()
    assert first.payloads()[0] != first.payloads()[1]


def test_a_full_slice_has_the_size_that_the_goal_names(tmp_path) -> None:
    """512x512 of 16 bits is half a megabyte, and the head that is rewritten stays far below HEAD_BYTES."""
    series = series_write(tmp_path / "ct", slices=1, matrix=512)
    assert 512 * 512 * 2 < series.size < 512 * 512 * 2 + 4096


def test_renewing_exchanges_uids_and_nothing_else(tmp_path) -> None:
    series = series_write(tmp_path / "ct", slices=3, matrix=64)
    before = [dcmread(file) for file in series.files]
    sizes = [file.stat().st_size for file in series.files]
    series.renew()
    after = [dcmread(file) for file in series.files]
    assert [file.stat().st_size for file in series.files] == sizes
    for old, new in zip(before, after, strict=True):
        for tag in UID_TAGS:
            assert new[tag].value != old[tag].value
            assert len(new[tag].value) == len(old[tag].value)
            assert uid_is_valid(new[tag].value)
        assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID
        assert new.PixelData == old.PixelData
        for tag in UID_TAGS:
            del old[tag], new[tag]
        assert old == new
    assert {new.StudyInstanceUID for new in map(dcmread, series.files)} == {series.study_uid}


def test_renewing_twice_never_repeats_a_uid(tmp_path) -> None:
    series = series_write(tmp_path / "ct", slices=1, matrix=32)
    seen = {series.study_uid}
    for _ in range(20):
        series.renew()
        assert series.study_uid not in seen
        seen.add(series.study_uid)
    assert salt_new(after=series.salt)[0] == "7"


def test_a_head_without_the_salt_or_of_another_length_is_refused() -> None:
    with pytest.raises(RenewError):
        head_renew(b"nothing", old="700", new="711")
    with pytest.raises(RenewError):
        head_renew(b"700", old="700", new="7111")


def test_ratios_are_paired() -> None:
    assert paired_ratios([1, 4], [4, 8]) == [0.25, 0.5]
    with pytest.raises(ValueError, match="same number"):
        paired_ratios([1], [1, 2])
    with pytest.raises(ValueError, match="at least one"):
        paired_ratios([], [])


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (1.0, 100), (0.0, 1)])
def test_percentile_is_the_nearest_rank(share, expected) -> None:
    assert percentile([*range(100, 0, -1)], share) == expected


def test_percentile_of_nothing_raises() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_median_and_range_of_a_figure() -> None:
    data = Figure("ours", [3.0, 1.0, 2.0], "s").as_data()
    assert (data["median"], data["lowest"], data["highest"]) == (2.0, 1.0, 3.0)
    assert number_words(1234.5) == "1,234"
    assert number_words(0.12345) == "0.123"


def test_the_sender_s_log_gives_times_and_counts() -> None:
    lines = ["10.000 Requesting Association", "10.500 Association Accepted (Max Send PDV: 131060)", "XMIT: ...."]
    lines += ["11.000 Received Store Response (Success)", "XMIT: .", "12.500 Received Store Response (Success)"]
    sent = log_read("\n".join(lines), count=2, process_seconds=3.0)
    assert (sent.seconds, sent.last_at) == (2.0, 12.5)
    with pytest.raises(SendError, match="2 of 3"):
        log_read("\n".join(lines), count=3, process_seconds=3.0)
    with pytest.raises(SendError, match="0 of 1"):
        log_read("10.5 Association Accepted\n11.0 Received Store Response (Refused: OutOfResources)", count=1, process_seconds=1)


def test_the_lane_leaves_whole_files(tmp_path) -> None:
    assert lane_ceiling(b"x" * 100, tmp_path, count=4) > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.dcm", "1.dcm", "2.dcm", "3.dcm"]
    assert pages_drop([tmp_path]) == 4
    assert (tmp_path / "0.dcm").read_bytes() == b"x" * 100


def test_a_request_holds_every_part() -> None:
    body = body_make([b"one", b"two"])
    assert body.count(b"--" + BOUNDARY.encode()) == 3
    assert body.endswith(b"--\r\n")


def test_cpu_of_a_process_tree() -> None:
    assert stat_fields("1 (a) b) S 7 0") == ["S", "7", "0"]
    program = "import subprocess, sys; print(sum(range(10**7)), flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert tree_seconds(child.pid) > 0
    assert tree_seconds(child.pid) == 0


def test_goals_are_met_missed_or_not_measured() -> None:
    words = {v.goal.key: v.word for v in verdicts({"ct_ratio": 0.25, "report_seconds": 3.01})}
    assert {key: words[key] for key in ("ct_ratio", "report_seconds", "demo_seconds")} == {
        "ct_ratio": "met", "report_seconds": "MISSED", "demo_seconds": "not measured",
    }  # fmt: skip
    assert {v.goal.key: v.word for v in verdicts({"ct_ratio": 0.249})}["ct_ratio"] == "MISSED"


def test_every_goal_has_its_row_and_every_row_its_measure() -> None:
    assert {goal.row for goal in GOALS} <= set(MEASURES)
    assert tuple(MEASURES) == ROWS
    assert len({goal.key for goal in GOALS}) == len(GOALS)


def test_the_page_repeats_the_goals_and_names_every_row() -> None:
    """docs/performance.md: the table of goals has the issue's words, all of them and no others; each row is explained."""
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    table = page.split("## Goals")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")][2:]
    assert [(row[0], row[1], row[2]) for row in rows] == [(goal.what, goal.goal, goal.judged_by) for goal in GOALS]
    for name in ROWS:
        assert re.search(rf"^\| `{name}` \|", page, re.MULTILINE), name


def test_a_partial_run_keeps_the_other_rows(tmp_path) -> None:
    path = tmp_path / "result.json"
    result_write(path, {"cores": 2}, {"ct": Outcome("CT", [Figure("ours", [1.0], "inst/s")])}, {"ct_ratio": 0.3})
    result_write(path, {"cores": 2}, {"demo": Outcome("demo")}, {"demo_seconds": 31.0})
    text = path.read_text(encoding="utf-8")
    assert '"ct"' in text
    assert '"demo"' in text
    assert text.count('"verdict": "met"') == 1
    assert text.count('"verdict": "MISSED"') == 1
    result_write(path, {"cores": 2}, {"ct": Outcome("CT", failure="no")}, {})
    assert '"verdict": "met"' not in path.read_text(encoding="utf-8")
