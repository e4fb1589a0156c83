import type { compile } from "vega-lite";
import { config } from "./theme.ts";

/** A vega-lite specification (https://vega.github.io/vega-lite/docs/), without its configuration. */
export type ChartSpec = Readonly<Record<string, unknown>>;

export interface Charts {
  /**
   * The chart as an SVG element. Colours are CSS variables (theme.ts): it follows the page's light or dark scheme. `name` must be
   * unique on a page: it is put before the ids inside.
   */
  svg(name: string, spec: ChartSpec): Promise<string>;
}

/**
 * Loads vega and vega-lite, which costs about 0.2 s: not before a chart is wanted. Throws Error with what vega-lite has to say about
 * a specification, warnings included: a chart that it only half understood would show something else than was meant.
 */
export async function loadCharts(): Promise<Charts> {
  const [vega, lite] = await Promise.all([import("vega"), import("vega-lite")]);
  return {
    async svg(name, spec) {
      const problems: string[] = [];
      const logger = noteTo(problems);
      const compiled = lite.compile(spec as unknown as Parameters<typeof compile>[0], {
        config: config as unknown as Config,
        logger: logger as unknown as NonNullable<Options["logger"]>,
      });
      const view = new vega.View(vega.parse(compiled.spec), {
        renderer: "none",
        logger: logger as unknown as ReturnType<typeof vega.logger>,
      });
      const svg = await view.toSVG();
      view.finalize();
      if (problems.length > 0) throw new Error(`chart ${name}: ${problems.join("; ")}`);
      return tidy(name, svg);
    },
  };
}

type Options = NonNullable<Parameters<typeof compile>[1]>;
type Config = NonNullable<Options["config"]>;

interface Logger {
  readonly level: () => Logger;
  readonly error: (...said: readonly unknown[]) => Logger;
  readonly warn: (...said: readonly unknown[]) => Logger;
  readonly info: () => Logger;
  readonly debug: () => Logger;
}

/** vega writes its warnings to the console otherwise. */
function noteTo(problems: string[]): Logger {
  const note = (...said: readonly unknown[]): Logger => {
    problems.push(said.map(String).join(" "));
    return logger;
  };
  const pass = (): Logger => logger;
  const logger: Logger = { level: pass, error: note, warn: note, info: pass, debug: pass };
  return logger;
}

/** Ids of clip paths are counted from 0 in every chart; the size is left to the page. Numbers of 1/100 of a pixel are fine enough. */
const tidy = (name: string, svg: string): string =>
  svg
    .replaceAll(/\b(clip|gradient_?)(\d+)\b/g, `${name}-$1$2`)
    .replaceAll(/(\.\d\d)\d+/g, "$1")
    .replaceAll(' xmlns:xlink="http://www.w3.org/1999/xlink" version="1.1"', "")
    .replaceAll(/ pointer-events="none"| aria-roledescription="[^"]*"| role="graphics-(?:object|symbol)"/g, "")
    .replace(
      /^<svg([^>]*) width="([\d.]+)" height="[\d.]+"/,
      (_, rest: string, width: string) => `<svg${rest} style="max-width:${width}px"`,
    );
