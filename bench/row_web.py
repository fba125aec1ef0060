"""Row `web`: every DICOMweb row of the issue beside Orthanc, with 18,000 studies stored; tokens, walls and audit on at our side."""

import shutil

from bench.context import Bench
from bench.figures import Outcome
from bench.peer_orthanc import DICOMWEB, missing
from bench.row_viewer import viewer_measure
from bench.sides import STUDIES, Task, sides_running, tasks_measure

TASKS = (
    Task("stow_ct_25", "instances/s", True, "STOW-RS CT, 25 a request", "web_stow_ct"),
    Task("stow_small_1", "instances/s", True, "STOW-RS tiny, 1 a request", "web_stow_small_1"),
    Task("stow_small_50", "instances/s", True, "STOW-RS tiny, 50 a request", "web_stow_small_50"),
    Task("qido_patient_id", "requests/s", True, "QIDO by PatientID", "web_qido_id"),
    Task("qido_name", "requests/s", True, "QIDO by name wildcard", "web_qido_name"),
    Task("qido_date", "requests/s", True, "QIDO by date range", "web_qido_date"),
    Task("qido_page", "requests/s", True, "QIDO page (limit, offset)", "web_qido_page"),
    Task("qido_instances", "p50 ms", False, "QIDO 500 instances of a series", "web_qido_instances"),
    Task("wado_metadata", "ms", False, "series metadata, 500 instances", "web_metadata"),
    Task("wado_instance", "requests/s", True, "WADO instance", "web_instance"),
    Task("wado_frame", "requests/s", True, "WADO frame", "web_frame"),
    Task("wado_frame_multi", "requests/s", True, "frame of a multi-frame object", "web_frame_multi"),
    Task("wado_rendered", "requests/s", True, "rendered 512x512", "web_rendered"),
    Task("wado_study", "MB/s", True, "whole-study WADO", "web_study"),
)


def web_measure(bench: Bench) -> Outcome:
    """DICOMweb tasks of the harness on both sides in turn."""
    outcome = Outcome("DICOMweb beside Orthanc (Debian's, SQLite): ours / Orthanc")
    lacks = [*missing(), *(["wrk"] if not shutil.which("wrk") else []), *(["orthanc-dicomweb"] if not DICOMWEB.exists() else [])]
    if lacks:
        outcome.notes.append(f"not compared: {', '.join(lacks)} not here")
        return outcome
    with sides_running(bench, "bench-web") as sides:
        tasks_measure(bench, sides, outcome, TASKS)
        viewer_measure(bench, sides, outcome)
    outcome.notes.append(f"{STUDIES:,} studies stored on both sides before the first row; times as speed: theirs / ours")
    return outcome
