"""docs/platforms.md from the cards: `python -m tests.ai.platforms.page > docs/platforms.md`. A test compares."""

import sys

from ai.cards import AlgorithmCard, Card, Clearance
from ai.catalogue import inputs_words
from ai.contract import platforms
from ai.wires.performer import SETTINGS
from ai.wires.structures import STRUCTURES

HERE = "docs/platforms.md"
HEAD = """# Platforms

Made from the cards in `ai/platforms/` (`python -m tests.ai.platforms.page`); a test fails when the two differ. Facts stand with the
place where they can be checked; what could not be verified is left out or said to be so.

Four kinds look at no images: an *archive* keeps a de-identified copy and answers with a receipt, an *llm* words an impression from
findings that it is given and answers with a draft, and neither ever gives a finding. A *samd-vendor* is a regulated product without a
public interface, connected by contract over the Hub Performer Profile below. *unavailable* means that there is nothing to connect to
today. What an answer may say follows from the algorithm's role: triage may flag and nothing more, and its silence is no negative.

A performance figure that is not here was not published where we could check it. How a hospital looks through the cards, compares them,
accepts a platform's terms, and recalls an algorithm is in [governance.md](governance.md).
"""
PROFILE = """
## The Hub Performer Profile

The onboarding kit for a vendor without a public interface. All UIDs and identifiers that you see are surrogates; answer with them.

1. **Work** reaches you in one of four ways (setting `way`):
   - `ups`: claim workitems from our UPS-RS worklist (PS3.18 chapter 11, IHE AIW-I; pull or triggered pull).
   - `stow`: we POST the series to your DICOMweb, `<dicomweb_url>/studies`, and expect each instance confirmed in the answer
     (PS3.18 10.5). Being sent one again is normal; 45070 or 0111H counts as stored.
   - `dimse`: we C-STORE to your node, with DICOM TLS unless agreed otherwise.
   - `task`: we POST JSON to `<task_url>` and you fetch from `pull_url` by WADO-RS with `Authorization: Bearer <pull_token>`:
     `{"job_id", "algorithm", "study_uid", "series_uid", "instances", "modality", "priority": "stat"|"routine", "pull_url",
     "pull_token", "hook_url"}`. Answer 2xx, or 409 for a `job_id` that you have; it is the key that makes sending twice harmless.
     A page of HTML is taken for a proxy's, and the task is sent again.
2. **Answers** come back in one of two directions (setting `answer`):
   - `pushed`: STOW-RS or C-STORE of SR (TID 1500), SEG, GSPS, SC or encapsulated PDF into the same study; or the completed workitem
     with its Output Information Sequence; or a signed POST to `hook_url`. C-STORE goes to `return_ae` from `return_from_ae`, and is taken
     from `return_addresses` only, or over DICOM TLS with a client certificate that the hospital has issued (`return_tls`).
   - fetched by us: from your DICOMweb (`dicomweb`, complete when a series of the modality `closing` is there), from your FHIR server
     (`fhir`: we PUT Patient and ImagingStudy, then search DiagnosticReport by subject; a rest-hook Subscription tells us when), or
     from `GET <task_url>/<job_id>` (`task`).
3. **The JSON answer**, by hook or task:
   `{"job_id", "status": "done"|"not_analysable"|"failed"|"running", "findings": [{"code", "system", "display", "value", "unit",
   "probability", "bodySite", "sop_refs"}], "flag", "reason": {"code", "text"}, "model": {"name", "version", "udi"}}`; units are UCUM.
   The whole schema is in [ai-results.md](ai-results.md).
4. **Signatures**, either way: `X-Hub-Signature: t=<seconds since 1970>,v1=<hex HMAC-SHA256 of "<t>.<body>">` with the connection's
   secret; five minutes of tolerance. A replay within them is harmless, since an answer is taken once by its `job_id`.
5. **Who may call**: bearer token, Basic, an API key in a header of your choice, and mutual TLS besides; TLS is always verified.

6. **A double to try it with**: `QUANTIFY_KEY=... python -m sandbox.vendors --folder <F> --quantify <address of MedHub Quantify>` starts a
   performer (and stand-ins of all other wires) on one HTTPS port of loopback, with a DICOM node beside it, under a test authority in
   `<F>/ca.pem` (`EGRESS_CA_FILE`) and credentials in `<F>/credentials.json`. It computes with MedHub Quantify or says *not
   analysable*; its maker reads "MedHub Quantify (test double)". `POST /control/ups` lets it pull from a UPS-RS worklist. It is a test
   tool, never part of a production install.

Settings of such a connection: """


NIM = """
## The VISTA-3D NIM

With `way` = `nim` a connection of NVIDIA Clara goes to a NIM of yours; `url` is its base, before `/v1`.

1. The series is de-identified as always, decoded and written as one NIfTI-1 volume: Hounsfield units in 16 bits (floating point where
   the rescale needs it), the affine from position, orientation and spacing, slices in the order of their projection on the normal. It
   must be a volume: 10 or more single CT slices of one size, orientation, spacing and frame of reference; steps that differ from the
   usual one by no more than 0.1 mm or 5 %; no gap; no gantry tilt beyond half a degree. Else the job fails with the reason; nothing is
   resampled.
2. `POST /v1/vista3d/inference` with `{"image": <address>, "prompts": {"classes": [names]}}`. The address,
   `/hooks/volumes/<connection>/<job>/<ticket>.nii.gz` at `MEDHUB_PUBLIC_URL`, needs no header; its ticket is 256 random bits, of which
   we keep a digest. It ends with the job, after 15 minutes, or a minute after the first GET (a broken transfer may be tried again);
   HEAD uses nothing up. Each fetch is in the audit trail (`ai.fetch`). The NIM restricts the addresses that it fetches from: allow the
   hub's there.
3. The request may take 15 minutes. It runs on a thread beside the worker, which goes on with other jobs; a worker that dies loses it,
   and the next poll asks again, with an address of its own.
4. The label map must be NIfTI-1 in the zip, of the volume's matrix and place (0.1 mm), with whole numbers that were asked for. Each
   label becomes a volume in mL and a segment of a SEG over the original images; what was asked for and not labelled is noted, which is
   no statement that it is absent; nothing labelled at all is *not analysable*. The maker is who the NIM's `/v1/vista3d/info` says, or
   "not stated".

Structures that may be asked for (setting `structures`), with the SNOMED CT code that each is reported by: """


def page() -> str:
    """The whole page."""
    cards = [one.card for _, one in sorted(platforms().items()) if one.card.slug != "acme-chest"]
    rows = [f"| [{card.name}](#{card.slug}) | {card.kind} | {_way(card)} | {_roles(card)} |" for card in cards]
    table = "\n".join(["| platform | kind | interface | roles |", "|---|---|---|---|", *rows])
    names = ", ".join(f"`{field.name}`" for field in SETTINGS)
    structures = ", ".join(f"{one.name} ({one.site.code})" for one in STRUCTURES)
    return "\n".join([HEAD, table, *(_section(card) for card in cards), f"{PROFILE}{names}.", f"{NIM}{structures}.", ""])


def _way(card: Card) -> str:
    if card.is_in_house:
        return "built in"
    return "public" if card.is_public else "by contract"


def _roles(card: Card) -> str:
    return ", ".join(dict.fromkeys(one.role for one in card.algorithms))


def _section(card: Card) -> str:
    lines = [f'\n<a id="{card.slug}"></a>', f"### {card.name}", "", card.summary, ""]
    facts = (
        ("Vendor", card.vendor), ("History", card.history), ("Interface", card.interface),
        ("Data goes to", ", ".join(card.regions) or ("" if card.is_in_house else "by contract")), ("Limits", card.limits),
    )  # fmt: skip
    lines += [f"- {name}: {text}" for name, text in facts if text]
    lines += [_algorithm(one) for one in card.algorithms]
    sources = [f"[{source.title}]({_link(source.url)})" if source.url != HERE else f"{source.title} (this page)" for source in card.sources]
    return "\n".join([*lines, *([f"- Sources: {'; '.join(sources)}"] if sources else [])])


def _link(url: str) -> str:
    """Documents of ours lie beside this one."""
    return url.removeprefix("docs/")


def _algorithm(one: AlgorithmCard) -> str:
    text = f"- **{one.title}** (`{one.name}`, {one.role}): {'; '.join(inputs_words(one))}. Clearance: {one.clearance}"
    text += f" ({'; '.join(_clearance(item) for item in one.clearances)})" if one.clearances else ""
    more = [
        f" Intended use: {one.intended_use.rstrip('.')}." if one.intended_use else "",
        f" Finds: {', '.join(one.findings)}." if one.findings else "", f" Not for: {one.out_of_scope}." if one.out_of_scope else "",
        f" Performance: {'; '.join(f'{it.value}, {it.what} ([{it.source.title}]({_link(it.source.url)}))' for it in one.performance)}."
        if one.performance else "",
        f" Versions: {', '.join(one.versions)}." if one.versions else "", f" Known limits: {one.limits}." if one.limits else "",
    ]  # fmt: skip
    return f"{text}.{''.join(more)}"


def _clearance(item: Clearance) -> str:
    return f"[{item.number}]({item.source.url}): {item.scope}" + (f", {item.date}" if item.date else "")


if __name__ == "__main__":
    sys.stdout.write(page())
