/** Markup that is already escaped. */
export interface Html {
  readonly markup: string;
}

type Part = Html | string | number | null | undefined | false | readonly Part[];

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

export const escapeHtml = (text: string): string => text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? character);

/** Markup from elsewhere that is known to be safe (a rendered chart). */
export const raw = (markup: string): Html => ({ markup });

function render(part: Part): string {
  if (part === null || part === undefined || part === false) return "";
  if (typeof part === "string") return escapeHtml(part);
  if (typeof part === "number") return String(part);
  if (isHtml(part)) return part.markup;
  return part.map(render).join("");
}

const isHtml = (part: object): part is Html => "markup" in part;

/** A template whose values are escaped, but for those that are Html; lists are joined, null and false leave nothing. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  let markup = strings[0] ?? "";
  for (const [i, part] of parts.entries()) markup += render(part) + (strings[i + 1] ?? "");
  return { markup };
}
