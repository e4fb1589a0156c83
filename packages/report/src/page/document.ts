import { type Html, html, raw } from "./html.ts";
import { SCRIPT } from "./script.ts";
import { STYLE } from "./style.ts";

/** A part of a page, with its entry in the navigation; left out when `body` is null. */
export interface Section {
  readonly id: string;
  readonly title: string;
  /** Said under the title: what one sees here. */
  readonly lead?: Html | string;
  readonly body: Html | null;
}

/** A word with its definition, shown on hover and on focus. */
export const defined = (word: string, definition: string): Html =>
  html`<span class="def" tabindex="0" data-def="${definition}">${word}</span>`;

/** A page in one file: no request leaves it (its own policy forbids that), nothing is needed beside it. */
export function renderDocument(options: { title: string; head: Html; sections: readonly Section[]; footer: Html }): string {
  const shown = options.sections.filter((section) => section.body !== null);
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';style-src 'unsafe-inline';script-src 'unsafe-inline';img-src data:">
<link rel="icon" href="data:,">
<title>${options.title}</title>
<style>${raw(STYLE)}</style>
</head>
<body>
<header class="top">${options.head}</header>
<nav aria-label="Sections"><div>${shown.map((section) => html`<a href="#${section.id}">${section.title}</a>`)}<button id="scheme" type="button" aria-label="Switch between light and dark">◐</button></div></nav>
<main>
${shown.map((section) => html`<section id="${section.id}"><h2>${section.title}</h2>${section.lead !== undefined && html`<p>${section.lead}</p>`}${section.body}</section>`)}
<footer>${options.footer}</footer>
</main>
<script>${raw(SCRIPT)}</script>
</body>
</html>
`;
  return page.markup;
}
