// Tables as text (RFC 4180).

/** Return rows of cells as text; a cell that a spreadsheet would take for a formula is kept from being one. */
export function writeCsv(rows) {
  const cell = (value) => {
    const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => row.map(cell).join(",") + "\r\n").join("");
}

/** Return the rows of a table with a header, each an object. */
export function readCsv(text) {
  const [header, ...rows] = cells(text.replace(/^\uFEFF/, ""));
  return rows.map((row) => Object.fromEntries(header.map((name, place) => [name, row[place] ?? ""])));
}

function cells(text) {
  const pattern = /("(?:[^"]|"")*"|[^,\r\n]*)(,|\r?\n|$)/gy;
  const rows = [];
  let row = [];
  for (let match; pattern.lastIndex < text.length && (match = pattern.exec(text)); ) {
    row.push(match[1].startsWith('"') ? match[1].slice(1, -1).replaceAll('""', '"') : match[1]);
    if (match[2] !== ",") {
      rows.push(row);
      row = [];
    }
  }
  return rows.filter((cells) => cells.length > 1 || cells[0]);
}
