// fhir-kit-client: everything it can do, against the hub.
import { Client } from "fhir-kit-client";

import { assert, base, family, foreign, mark, observation, patient, refused, token } from "./story.mjs";

const client = new Client({ baseUrl: base, bearerToken: token });
const status = (promise) => refused(promise, (error) => error.response?.status);

const statement = await client.capabilityStatement();
assert.equal(statement.fhirVersion, "4.0.1");

const made = await client.create({ resourceType: "Patient", body: patient(mark) });
const { id } = made;
assert.equal(Client.httpFor(made).response.status, 201);
assert.match(Client.httpFor(made).response.headers.get("location"), new RegExp(`/Patient/${id}/_history/1$`));
assert.deepEqual(await client.read({ resourceType: "Patient", id }).then((read) => read.identifier), made.identifier);

const match = (version) => ({ headers: { "If-Match": `W/"${version}"` } });
const changed = await client.update({ resourceType: "Patient", id, body: { ...made, active: true }, options: match(1) });
assert.equal(changed.meta.versionId, "2");
assert.equal(await status(client.update({ resourceType: "Patient", id, body: made, options: match(1) })), 412);

const jsonPatch = [{ op: "test", path: "/gender", value: "female" }, { op: "replace", path: "/gender", value: "other" }];
assert.equal((await client.patch({ resourceType: "Patient", id, jsonPatch })).gender, "other");
assert.equal(await status(client.patch({ resourceType: "Patient", id, jsonPatch })), 422);
assert.equal((await client.vread({ resourceType: "Patient", id, version: "1" })).gender, "female");
assert.deepEqual((await client.resourceHistory({ resourceType: "Patient", id })).entry.map((one) => one.resource.meta.versionId), ["3", "2", "1"]);

const once = { headers: { "If-None-Exist": `identifier=urn:oid:1.2.3|${mark}-once` } };
const first = await client.create({ resourceType: "Patient", body: patient(`${mark}-once`), options: once });
const second = await client.create({ resourceType: "Patient", body: patient(`${mark}-once`), options: once });
assert.deepEqual([Client.httpFor(first).response.status, Client.httpFor(second).response.status, second.id], [201, 200, first.id]);

const written = await client.transaction({ body: family(`${mark}-family`) });
assert.deepEqual(new Set(written.entry.map((one) => one.response.status)), new Set(["201"]));
const mother = written.entry[0].response.location.split("/").at(-3);

const included = await client.search({
  resourceType: "Observation", searchParams: { "patient.identifier": `urn:oid:1.2.3|${mark}-family`, _include: "Observation:subject" },
});
assert.deepEqual(included.entry.filter((one) => one.search.mode === "include").map((one) => one.resource.id), [mother]);
assert.equal(included.entry.filter((one) => one.search.mode === "match").length, 7);

const asked = { resourceType: "Observation", searchParams: { patient: mother, _count: 3, _sort: "date" } };
const seen = [];
for (let page = await client.search({ ...asked, options: { postSearch: true } }); page; page = await client.nextPage({ bundle: page })) {
  seen.push(page.entry.map((one) => Number(one.resource.effectiveDateTime.at(-1))));
}
assert.deepEqual(seen, [[1, 2, 3], [4, 5, 6], [7]]);
const compartment = { resourceType: "Patient", id: mother };
assert.equal((await client.search({ resourceType: "Observation", compartment, searchParams: {} })).entry.length, 7);
assert.equal((await client.systemSearch({ searchParams: { _type: "Patient", _id: mother } })).entry.length, 1);
const read = await client.resolve({ reference: `Patient/${mother}` });
assert.equal(read.identifier[0].value, `${mark}-family`);

const batch = await client.batch({ body: { resourceType: "Bundle", type: "batch", entry: [
  { request: { method: "GET", url: `Patient/${mother}` } },
  { request: { method: "POST", url: "Observation" }, resource: observation(`Patient/${mother}`, 8) },
  { request: { method: "GET", url: `Patient/${foreign}` } },
] } });
assert.deepEqual(batch.entry.map((one) => one.response.status), ["200", "201", "404"]);

await client.delete({ resourceType: "Patient", id });
assert.equal(await status(client.read({ resourceType: "Patient", id })), 410);
assert.equal(await status(client.read({ resourceType: "Patient", id: foreign })), 404);
assert.equal(await status(client.resourceHistory({ resourceType: "Patient", id: foreign })), 404);
