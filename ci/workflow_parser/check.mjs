// Read workflows as GitHub does, and print each fault: check.mjs FILE...

import { registerHooks } from "node:module";
import { readFileSync } from "node:fs";

// The packages import JSON in the way that bundlers take, and Node does not.
registerHooks({
  load: (url, context, next) =>
    next(url, url.endsWith(".json") ? { ...context, importAttributes: { type: "json" } } : context),
});
const { validate } = await import("@actions/languageservice");
const { TextDocument } = await import("vscode-languageserver-textdocument");

// Workflows that another one calls; paths are those of the repository, whose top we are in.
const fileProvider = {
  getFileContent: async ({ path }) => ({ name: path, content: readFileSync(path, "utf8") }),
};

for (const name of process.argv.slice(2)) {
  const text = readFileSync(name, "utf8");
  const faults = await validate(TextDocument.create(`file:///${name}`, "yaml", 0, text), {
    fileProvider,
  });
  for (const { range, message } of faults) {
    console.error(`${name}:${range.start.line + 1}: ${message}`);
    process.exitCode = 1;
  }
}
