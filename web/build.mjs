// Bundles view3d.js and what it imports into one file: node build.mjs OUT
// The licence of every package that is in it stands at its end.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

// packages that come without the text of their licence; licenses/NAME.txt has it
const KEPT_HERE = { "@niivue/niivue": "licenses/niivue.txt" };

const out = process.argv[2];
const { metafile, outputFiles } = await build({
  entryPoints: ["view3d.js"],
  alias: { zarrita: "./absent.js" },
  bundle: true,
  charset: "utf8",
  format: "esm",
  legalComments: "eof",
  logLevel: "warning",
  metafile: true,
  minify: true,
  target: "es2022",
  write: false,
});
const bundled = Object.values(metafile.outputs).flatMap(({ inputs }) =>
  Object.entries(inputs).flatMap(([path, { bytesInOutput }]) => (bytesInOutput ? [path] : [])),
);
const names = new Set(
  bundled.flatMap((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? []),
);
const licences = [...names].sort().map((name) => {
  const { version } = JSON.parse(readFileSync(join("node_modules", name, "package.json"), "utf8"));
  return `${name} ${version}\n\n${licenceText(name)}`;
});
const notice = licences.join(`\n\n${"-".repeat(72)}\n\n`).replaceAll("*/", "* /");
writeFileSync(out, `${outputFiles[0].text}/*!\nThis file contains:\n\n${notice}\n*/\n`);

function licenceText(name) {
  if (KEPT_HERE[name]) return readFileSync(KEPT_HERE[name], "utf8").trim();
  const folder = join("node_modules", name);
  const found = readdirSync(folder).find((file) => /^licen[cs]e(\.\w+)?$/i.test(file));
  if (!found) throw new Error(`${name} comes without its licence: put it into licenses/ and name it here`);
  return readFileSync(join(folder, found), "utf8").trim();
}
