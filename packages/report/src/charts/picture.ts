import { FONT, withFixedColours } from "./theme.ts";

/** Fonts that are there on most machines; a file cannot ask the page for its own. */
const FILE_FONT = "Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif";

/** A chart of a page as a file that stands alone: white ground, fixed colours and fonts. */
export function toSvgFile(svg: string): string {
  const fixed = withFixedColours(svg).replaceAll(FONT, FILE_FONT);
  const [, width = "0", height = "0"] = /viewBox="0 0 ([\d.]+) ([\d.]+)"/.exec(fixed) ?? [];
  return fixed.replace(
    /^<svg([^>]*)>/,
    `<svg$1 width="${width}" height="${height}"><rect width="100%" height="100%" fill="#ffffff"/>`,
  );
}

/** The same as a PNG, twice as large as the SVG's pixels. Loads a native renderer (resvg). */
export async function toPng(svgFile: string): Promise<Uint8Array> {
  const { Resvg } = await import("@resvg/resvg-js");
  const image = new Resvg(svgFile, {
    fitTo: { mode: "zoom", value: 2 },
    font: { loadSystemFonts: true, defaultFontFamily: "Liberation Sans" },
  });
  return image.render().asPng();
}
