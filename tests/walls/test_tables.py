"""The database wall, as the app role sees it: every table, every key, every way round that we could think of."""

import pytest
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.utils import timezone

from ai.models import Connection, Job, Report, ReportDelivery, Result
from fhirapi.models import BulkExport, EhrPush, EhrServer, Subscriber, SubscriptionEvent
from imaging.models import (
    Certificate,
    CommitmentRequest,
    Instance,
    Node,
    Patient,
    QueryTag,
    Series,
    Study,
    Transfer,
    Upload,
    WorkItem,
)
from journal.audit import Actor, audit_record
from journal.models import AuditEvent, Delivery, OutboxEvent
from journal.outbox import event_publish
from journal.wall.tasks import rows_due
from tenants.directory import DIRECTORY, OWNER_ONLY
from tests import house
from tests.dicom_files import series_of

pytestmark = pytest.mark.database

TABLES = """
SELECT c.oid::regclass::text, c.relrowsecurity, c.relforcerowsecurity, c.relispartition, pg_get_userbyid(c.relowner),
       (SELECT array_agg(polname::text) FROM pg_policy WHERE polrelid = c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'm', 'f', 'v')
"""
SWEPT = {
    "imaging_study", "imaging_transfer", "imaging_certificate", "imaging_commitmentrequest", "imaging_upload", "imaging_scrub",
    "imaging_workitem", "imaging_querytag", "fhirapi_bulkexport", "fhirapi_subscriber",
    "fhirapi_subscriptionevent", "fhirapi_ehrpush", "ai_job", "ai_reportdelivery", "journal_delivery",
}  # fmt: skip


def rows(sql: str, *params: object, alias: str = "owner") -> list[tuple]:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, params or None)
        return cursor.fetchall()


def walled() -> list[str]:
    return [row[0] for row in rows(TABLES) if row[0] not in DIRECTORY | OWNER_ONLY]


@pytest.fixture
def two(mercy, olaf):
    """A study in each hospital."""
    for hospital in (mercy, olaf):
        house.store(hospital, series_of(2))
        house.index(hospital)
    return mercy, olaf


def test_every_table_is_walled_or_on_the_list_with_its_reason() -> None:
    """"fail for **every table that is neither walled nor on a short allow-list with its reason**"."""
    listed = DIRECTORY | OWNER_ONLY
    for name, is_enabled, is_forced, is_partition, owner, policies in rows(TABLES):
        assert owner == "medhub_owner", name
        if name in listed:
            assert listed[name], name
            continue
        assert is_enabled, f"{name} has no row level security"
        assert is_forced, f"{name} is open to its owner"
        assert "wall" in (policies or []), f"{name} has no wall"
        assert set(policies) <= {"wall", "sweep"} if name in SWEPT else set(policies) == {"wall"}, name
        assert not is_partition or not rows("SELECT has_table_privilege('medhub_app', %s, 'SELECT')", name)[0][0], name
    assert set(DIRECTORY) <= {row[0] for row in rows(TABLES)}, "the list names a table that is not there"


def test_roles_have_no_way_round() -> None:
    """"`medhub_app` (web, workers; no superuser, no BYPASSRLS, not the owner)"."""
    found = rows("SELECT rolname, rolsuper, rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname LIKE 'medhub%%'")
    assert len(found) == 3
    assert all(flags == (False, False, False) for _, *rest in found for flags in [tuple(rest)])
    assert rows("SELECT current_user", alias="default") == [("medhub_app",)]
    assert rows("SELECT current_user", alias="sweep") == [("medhub_sweep",)]


def test_tenant_id_leads_every_key() -> None:
    """"`tenant_id` ... first in every key and index"; foreign keys are composite; the shape that Citus distributes by."""
    sql = """
    SELECT c.conrelid::regclass::text, c.contype::text, c.conname::text,
           (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(c.conkey) WITH ORDINALITY k(num, n)
            JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num),
           c.confrelid::regclass::text
    FROM pg_constraint c WHERE c.contype IN ('p', 'u', 'f') AND c.connamespace = 'public'::regnamespace
    """
    walls = set(walled())
    seen = 0
    for table, _kind, name, columns, target in rows(sql):
        if table not in walls:
            assert target not in walls, f"{name}: a directory table points behind the wall"
            continue
        seen += 1
        assert columns[0] == "tenant_id", f"{name} of {table} begins with {columns[0]}"
    assert seen > 30
    indexes = rows(
        "SELECT indrelid::regclass::text, indexrelid::regclass::text, (SELECT attname::text FROM pg_attribute a "
        "WHERE a.attrelid = indrelid AND a.attnum = indkey[0]) FROM pg_index "
        "JOIN pg_class t ON t.oid = indrelid WHERE t.relnamespace = 'public'::regnamespace"
    )
    for table, index, first in indexes:
        if table in walls:
            assert first == "tenant_id" or (first == "due_at" and table in SWEPT), f"{index} of {table} begins with {first}"


def test_raw_sql_and_the_base_manager_see_one_hospital(two) -> None:
    """"raw SQL, `_base_manager` ... of hospital A see and touch nothing of B"."""
    mercy, olaf = two
    with olaf.scope():
        foreign = Study.objects.get()
    with mercy.scope(), connection.cursor() as cursor:
        for table in walled():
            if "fhir" in table and table[-1].isdigit():
                continue  # partitions: not granted at all
            cursor.execute(f'SELECT count(*) FROM "{table}" WHERE tenant_id <> %s', [mercy.tenant.id])
            assert cursor.fetchone() == (0,), table
        cursor.execute("SELECT count(*) FROM imaging_study WHERE 1 = 1 OR tenant_id = %s", [olaf.tenant.id])
        assert cursor.fetchone() == (1,)
        assert Study._base_manager.count() == 1
        assert not Study._base_manager.filter(id=foreign.id).exists()
        assert Study._base_manager.filter(id=foreign.id).update(description="x") == 0
        cursor.execute("DELETE FROM imaging_instance WHERE tenant_id = %s", [olaf.tenant.id])
        assert cursor.rowcount == 0
    with olaf.scope():
        assert Study.objects.get().description == "CT Chest"
        assert Instance.objects.count() == 2


def test_nothing_is_written_for_another_hospital(two) -> None:
    """The policy's WITH CHECK: neither an insert nor an update gets a row over the wall."""
    mercy, olaf = two
    with pytest.raises(DatabaseError), mercy.scope():
        Node(ae_title="EVIL", tenant_id=olaf.tenant.id).save(force_insert=True)
    with pytest.raises(DatabaseError), mercy.scope(), connection.cursor() as cursor:
        cursor.execute("UPDATE imaging_study SET tenant_id = %s", [olaf.tenant.id])


def test_a_foreign_key_never_reaches_over_the_wall(two) -> None:
    """"a foreign key aimed at another tenant": refused by the composite key, though it would pass row level security."""
    mercy, olaf = two
    with olaf.scope():
        foreign = Study.objects.get()
        person = Patient.objects.get()
    with pytest.raises(IntegrityError), mercy.scope():
        Series.objects.create(series_uid="1.2.3", study_id=foreign.id, first_received_at=timezone.now())
    with pytest.raises(IntegrityError), mercy.scope():
        Study.objects.update(patient_id=person.id)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE imaging_study DISABLE ROW LEVEL SECURITY",
        "SET ROLE medhub_owner",
        "SET ROLE postgres",
        "DROP POLICY wall ON imaging_study",
        "CREATE TABLE aside (x int)",
        "TRUNCATE imaging_study",
        "SELECT * FROM django_migrations",
        "SELECT lo_import('/etc/passwd')",
        "COPY imaging_study TO PROGRAM 'cat'",
        "SELECT * FROM fhir_resource_0",
    ],
)
def test_the_app_role_cannot_take_the_wall_down(statement) -> None:
    """Raw SQL as the app role meets a refusal, not a door."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.tenant', '1', true)")
        with pytest.raises(DatabaseError):
            cursor.execute(statement)
        transaction.set_rollback(True)


def test_audit_rows_can_only_be_added(mercy) -> None:
    """"app role lacks UPDATE/DELETE" on the audit trail (promise 14)."""
    with mercy.scope():
        audit_record(actor=Actor(name="user:x"), action="study.view", object_type="Study", object_id="1")
    for change in ("UPDATE journal_auditevent SET actor = 'user:y'", "DELETE FROM journal_auditevent", "DELETE FROM journal_auditseal"):
        with pytest.raises(DatabaseError), mercy.scope(), connection.cursor() as cursor:
            cursor.execute(change)
    with mercy.scope():
        assert AuditEvent.objects.get().actor == "user:x"


def test_each_sweep_sees_two_hospitals_and_nothing_else(two) -> None:
    """"each sweep is shown to see two tenants": ids and due times, no other column, no other table, no write."""
    for hospital in two:
        with hospital.scope():
            event_publish(name="study.changed", ids={"study_id": 1})
            link = Connection.objects.create(platform="medhub-quantify", name="x", created_at=timezone.now())
            job = Job.objects.create(
                study=Study.objects.get(), study_version=1, connection=link, algorithm="a", created_at=timezone.now(),
                due_at=timezone.now(),
            )  # fmt: skip
            now = timezone.now()
            result = Result.objects.create(job=job, payload={}, is_analysable=True, received_at=now)
            report = Report.objects.create(
                study=job.study, result=result, connection=link, algorithm="a", conclusion="-", content={}, issued_at=now
            )
            ReportDelivery.objects.create(report=report, kind="archive", created_at=now, due_at=now)
            Upload.objects.create(key="t/1/x.dcm", size=1, sha256="", created_at=now, due_at=now)
            WorkItem.objects.create(kind="x", reason="x", unique_on="x", created_at=now, due_at=now)
            Transfer.objects.create(
                kind="pull", node_ae="PACS", unique_on="x", created_at=timezone.now(), changed_at=timezone.now(), due_at=timezone.now()
            )
            Certificate.objects.create(
                kind="made", name="x", fingerprint=f"{hospital.tenant.id:064x}", not_before=timezone.now(), not_after=timezone.now(),
                created_at=timezone.now(), due_at=timezone.now(),
            )  # fmt: skip
            CommitmentRequest.objects.create(
                node_ae="CT", called_ae="US", transaction_uid="1.2", digest="x", created_at=timezone.now(), due_at=timezone.now()
            )
            QueryTag.objects.create(tag=0x00180050, vr="DS", level="study", created_at=now, changed_at=now, due_at=now)
            told = Subscriber.objects.create(
                fhir_id="s", rtype="Patient", endpoint="-", content="empty", creator="-", role="-", created_at=now, due_at=now
            )
            SubscriptionEvent.objects.create(subscriber=told, rtype="Patient", fhir_id="p", version=1, at=now, due_at=now)
            ehr = EhrServer.objects.create(name="x", base_url="-", created_at=now)
            EhrPush.objects.create(server=ehr, report="r", version=1, created_at=now, due_at=now)
            BulkExport.objects.create(level="system", request="-", base="-", at=now, rtypes=[], created_at=now, due_at=now)
    ids = {hospital.tenant.id for hospital in two}
    for table in sorted(SWEPT):
        found = {tenant_id for tenant_id, _ in rows_due(table, limit=100_000)}
        assert ids <= found, table
        with pytest.raises(DatabaseError), connections["sweep"].cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table}")
        with pytest.raises(DatabaseError), connections["sweep"].cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET due_at = now()")
    with pytest.raises(DatabaseError), connections["sweep"].cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM imaging_patient")


def test_threads_never_share_a_scope(two) -> None:
    """Eight threads, two hospitals, one pool of connections: nobody sees the other's rows."""
    from concurrent.futures import ThreadPoolExecutor

    def look(n: int) -> bool:
        hospital = two[n % 2]
        with hospital.scope():
            is_own = [s.tenant_id for s in Study._base_manager.all()] == [hospital.tenant.id]
        if n >= 92:
            connections.close_all()
        return is_own

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(look, range(100)))
        for _ in range(8):
            pool.submit(connections.close_all)


def test_the_outbox_is_behind_the_wall_too(two) -> None:
    """Events and deliveries of one hospital are no business of another's."""
    mercy, olaf = two
    with olaf.scope():
        before = Delivery.objects.count()
    with mercy.scope():
        event_publish(name="study.changed", ids={"study_id": 1})
        assert OutboxEvent._base_manager.exclude(tenant_id=mercy.tenant.id).count() == 0
    with olaf.scope():
        assert Delivery.objects.count() == before


