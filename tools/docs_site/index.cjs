// Makes the index of the search with the library that reads it: `node index.cjs MINISEARCH < sections.json > index.js`.
// A script and no JSON, so that it can be loaded from a disk too, where browsers let no page fetch a file.
"use strict";

const fs = require("node:fs");
const path = require("node:path");

const MiniSearch = require(path.resolve(process.argv[2]));
const options = { fields: ["heading", "page", "text"], storeFields: ["url", "page", "heading", "text"] };
const search = new MiniSearch(options);
search.addAll(JSON.parse(fs.readFileSync(0, "utf8")));
process.stdout.write(`window.searchIndex = ${JSON.stringify({ options, index: search })};\n`);
