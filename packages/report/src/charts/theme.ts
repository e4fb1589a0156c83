/** A colour for the eye in a light and in a dark page. Hues are apart for the colour-blind too (after Okabe and Ito, 2008). */
export const COLOURS = {
  ink: ["#1c2430", "#e6e9ef"],
  "ink-2": ["#5b6675", "#9aa5b4"],
  line: ["#e3e7ec", "#2b323c"],
  "line-2": ["#c3cad3", "#414a57"],
  page: ["#ffffff", "#14181e"],
  panel: ["#f6f7f9", "#1b2027"],
  fault: ["#c8102e", "#ff6b72"],
  shade: ["#c8102e", "#ff6b72"],
  blue: ["#1769c2", "#5aa9ff"],
  orange: ["#d9730d", "#ffab5e"],
  green: ["#1a7f4e", "#4cc38a"],
  purple: ["#8a4fbf", "#c79bf2"],
  teal: ["#0b8a8f", "#43c7cc"],
  yellow: ["#a67c00", "#e8c14a"],
  pink: ["#c2408e", "#f38cc3"],
  grey: ["#8b95a3", "#77828f"],
  brown: ["#8a5a3b", "#c99a78"],
} as const;

export type Colour = keyof typeof COLOURS;

/** A colour as pages and charts name it. */
export const ink = (name: Colour): string => `var(--${name})`;

/** One after the other, for things without an order. */
export const CATEGORIES: readonly Colour[] = ["blue", "orange", "green", "purple", "teal", "pink", "yellow", "brown", "grey"];

/** Replaces the CSS variables of a chart by colours of the light scheme, for files that are shown elsewhere. */
export const withFixedColours = (svg: string): string =>
  svg.replaceAll(/var\(--([a-z0-9-]+)\)/g, (variable, name: string) => COLOURS[name as Colour]?.[0] ?? variable);

export const FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif";
const axis = {
  labelColor: ink("ink-2"),
  titleColor: ink("ink-2"),
  gridColor: ink("line"),
  domainColor: ink("line-2"),
  tickColor: ink("line-2"),
  labelFontSize: 11,
  titleFontSize: 11,
  titleFontWeight: "normal",
  titlePadding: 8,
  tickSize: 4,
  labelLimit: 0,
};

/** What all charts share. */
export const config = {
  background: null,
  font: FONT,
  padding: 4,
  axis,
  axisX: { grid: false, labelFlush: false },
  axisY: { domain: false, ticks: false, labelPadding: 6 },
  legend: {
    labelColor: ink("ink-2"),
    titleColor: ink("ink-2"),
    labelFontSize: 11,
    titleFontSize: 11,
    titleFontWeight: "normal",
    orient: "top",
    symbolStrokeWidth: 0,
    symbolOpacity: 1,
    symbolSize: 70,
    symbolBaseFillColor: ink("ink-2"),
    labelLimit: 0,
    titleLimit: 0,
    offset: 4,
  },
  header: { labelColor: ink("ink"), titleColor: ink("ink-2"), labelFontSize: 12 },
  title: { color: ink("ink"), fontSize: 12, fontWeight: 600, anchor: "start", offset: 8 },
  text: { color: ink("ink-2"), fontSize: 11 },
  view: { stroke: null },
  range: { category: CATEGORIES.map(ink) },
  line: { strokeWidth: 1.8 },
};
