"""The lines that README.md tells an integrator to try, as they stand there, in a shell against the real web server."""

import re
import subprocess

import pytest

from medhub.stack import ROOT
from tests.conftest import Hospital
from tests.orthanc import need_program
from tests.web import Web

pytestmark = [pytest.mark.stack, pytest.mark.peers, pytest.mark.xdist_group("fhir-web")]
HERE = "http://localhost:8000/t/mercy"
# What each line brings, in their order: the status, and something that the answer says.
EXPECTED = [
    ("200", '"CapabilityStatement"'), ("200", '"searchset"'), ("201", '"4711"'), ("200", '"4711"'), ("200", '"4711"'), ("200", '"4711"'),
    ("200", '"birthDate":"1970-01-02"'), ("200", "/Observation/"), ("200", '<value value="60.0"/>'), ("200", "Patient.gender"), ("204", ""),
]  # fmt: skip


def test_the_lines_of_the_readme(web: Web, mercy: Hospital) -> None:
    """ "Look at what an EHR integrator would try first": create, search, transaction, patch, XML."""
    need_program("curl")
    (block,) = re.findall(r"```\n(AUTH=.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert HERE in block
    status = "curl -s -w '\\n%{http_code}\\n=====\\n' "
    script = block.replace(HERE, f"{web.address}/t/{mercy.slug}").replace("\ncurl ", f"\n{status}")
    environment = {"TOKEN": mercy.token, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True)
    answers = [answer.strip().rpartition("\n")[::2] for answer in done.stdout.split("=====\n")[:-1]]
    assert len(answers) == len(EXPECTED)
    for (text, code), (wanted, part) in zip(answers, EXPECTED, strict=True):
        assert (code, part in text) == (wanted, True), text
