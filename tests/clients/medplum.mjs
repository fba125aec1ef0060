// @medplum/core: its own headers (X-Medplum, an Accept with a wildcard), JSON Patch, pages as a generator.
import { MedplumClient } from "@medplum/core";

import { assert, base, family, foreign, mark, patient, refused, token } from "./story.mjs";

const sent = [];
const watched = (url, options) => {
  sent.push(options.headers);
  return fetch(url, options);
};
const path = "fhir/r4";
assert.ok(base.endsWith(path));
const client = new MedplumClient({ baseUrl: base.slice(0, -path.length), fhirUrlPath: path, accessToken: token, cacheTime: 0, fetch: watched });
const code = (promise) => refused(promise, (error) => error.outcome?.issue[0].code);

const made = await client.createResource(patient(mark));
const { id } = made;
assert.deepEqual([sent.at(-1)["X-Medplum"], sent.at(-1).Accept], ["extended", "application/fhir+json, */*; q=0.1"]);
assert.deepEqual(await client.readResource("Patient", id), made);
assert.equal((await client.updateResource({ ...made, active: true })).meta.versionId, "2");
assert.equal(await code(client.updateResource({ ...made, active: false }, { headers: { "If-Match": 'W/"1"' } })), "conflict");
assert.equal((await client.patchResource("Patient", id, [{ op: "replace", path: "/gender", value: "other" }])).gender, "other");
assert.equal((await client.readVersion("Patient", id, "1")).gender, "female");
assert.equal((await client.readHistory("Patient", id)).entry.length, 3);

const query = `identifier=${mark}-once`;
const first = await client.createResourceIfNoneExist(patient(`${mark}-once`), query);
assert.equal((await client.createResourceIfNoneExist(patient(`${mark}-once`), query)).id, first.id);
assert.equal((await client.upsertResource(patient(`${mark}-once`, { active: true }), query)).id, first.id);

const written = await client.executeBatch(family(`${mark}-family`));
assert.ok(written.entry.every((one) => one.response.status === "201"));
const mother = (await client.searchOne("Patient", { identifier: `${mark}-family` })).id;
const found = await client.search("Observation", { "subject:Patient.identifier": `${mark}-family`, _include: "Observation:subject" });
assert.deepEqual(found.entry.filter((one) => one.search.mode === "include").map((one) => one.resource.id), [mother]);

const seen = [];
for await (const page of client.searchResourcePages("Observation", { subject: `Patient/${mother}`, _count: 3, _sort: "date" })) {
  seen.push(page.map((one) => Number(one.effectiveDateTime.at(-1))));
}
assert.deepEqual(seen, [[1, 2, 3], [4, 5, 6], [7]]);
assert.equal((await client.search("Observation", { subject: `Patient/${mother}`, _summary: "count" })).total, 7);

await client.deleteResource("Patient", id);
assert.equal(await code(client.readResource("Patient", id)), "deleted");
assert.equal(await code(client.readResource("Patient", foreign)), "not-found");
assert.equal((await client.searchResources("Patient", { _id: foreign })).length, 0);
