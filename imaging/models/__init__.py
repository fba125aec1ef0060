"""Pixels and where they came from: peers, associations, patients, studies, series, instances, orders, work items."""

from imaging.models.exchange import CommitmentRequest, Transfer, TransferStudy
from imaging.models.fields import FoldedField
from imaging.models.hl7 import Hl7Destination, Hl7Message
from imaging.models.keeping import Scrub, StorageUse, Upload, WorkItem
from imaging.models.merges import PatientMerge
from imaging.models.orders import Order, ScheduledStep
from imaging.models.patients import Patient
from imaging.models.peers import Association, AuthorityKey, Certificate, Node
from imaging.models.queries import QueryTag, QueryValue
from imaging.models.studies import Instance, Priority, Series, Study, StudySource

__all__ = [
    "Association",
    "AuthorityKey",
    "Certificate",
    "CommitmentRequest",
    "FoldedField",
    "Hl7Destination",
    "Hl7Message",
    "Instance",
    "Node",
    "Order",
    "Patient",
    "PatientMerge",
    "Priority",
    "QueryTag",
    "QueryValue",
    "ScheduledStep",
    "Scrub",
    "Series",
    "StorageUse",
    "Study",
    "StudySource",
    "Transfer",
    "TransferStudy",
    "Upload",
    "WorkItem",
]
