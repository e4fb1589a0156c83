/**
 * Splits a stream of text into lines without ever holding more than `maxLength` characters of an unfinished one; a longer line
 * calls `onTooLong` once and everything after it is dropped.
 */
export function lineSplitter(maxLength: number, onLine: (line: string) => void, onTooLong: () => void): (chunk: string) => void {
  let pieces: string[] = [];
  let held = 0;
  let over = false;
  return (chunk) => {
    let from = 0;
    while (!over) {
      const end = chunk.indexOf("\n", from);
      const piece = chunk.slice(from, end === -1 ? undefined : end);
      held += piece.length;
      if (held > maxLength) {
        over = true;
        pieces = [];
        onTooLong();
        return;
      }
      pieces.push(piece);
      if (end === -1) return;
      const line = pieces.join("");
      pieces = [];
      held = 0;
      from = end + 1;
      if (line !== "") onLine(line);
    }
  };
}
