// What each client is told to do, and where: the test gives the addresses and the token, the other hospital's patient among them.
import assert from "node:assert/strict";

export { assert };
export const { base, token, foreign } = JSON.parse(process.argv[2]);
export const mark = `js-${process.pid}`;

export const patient = (value, more = {}) => ({
  resourceType: "Patient", gender: "female", identifier: [{ system: "urn:oid:1.2.3", value }], ...more,
});

export const observation = (subject, day) => ({
  resourceType: "Observation", status: "final", code: { coding: [{ system: "http://loinc.org", code: "29463-7" }] },
  subject: { reference: subject }, effectiveDateTime: `2026-01-0${day}`,
});

const PATIENT = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0";
const post = (resource, fullUrl) => ({ fullUrl, resource, request: { method: "POST", url: resource.resourceType } });

// A patient and seven observations of hers, in one transaction.
export const family = (value) => ({
  resourceType: "Bundle", type: "transaction",
  entry: [post(patient(value), PATIENT), ...[1, 2, 3, 4, 5, 6, 7].map((day) => post(observation(PATIENT, day)))],
});

// The HTTP status of what must be refused; each client has its own place for it.
export async function refused(promise, status) {
  try {
    await promise;
  } catch (error) {
    return status(error);
  }
  return assert.fail("it was not refused");
}
