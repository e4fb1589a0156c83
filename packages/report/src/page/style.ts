import { COLOURS } from "../charts/theme.ts";

const variables = Object.entries(COLOURS)
  .map(([name, [light, dark]]) => `--${name}:light-dark(${light},${dark});`)
  .join("");

/** The look of every page: no file beside it, light and dark, fit to print. */
export const STYLE = `
:root{color-scheme:light dark;${variables}}
:root[data-scheme=light]{color-scheme:light}
:root[data-scheme=dark]{color-scheme:dark}
*{box-sizing:border-box}
html{scroll-padding-top:3.2rem}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif;font-variant-numeric:tabular-nums}
main,header.top{max-width:1020px;margin:0 auto;padding:0 1.4rem}
header.top{padding-top:2rem}
h1{font-size:1.75rem;line-height:1.2;margin:.2rem 0 .3rem;letter-spacing:-.015em}
h2{font-size:1.2rem;margin:2.9rem 0 .3rem;letter-spacing:-.01em}
h3{font-size:1rem;margin:1.6rem 0 .3rem}
p{margin:.45rem 0 .8rem;max-width:76ch}
a{color:var(--blue)}
code{font:12px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.eyebrow{color:var(--ink-2);font-size:.82rem;margin:0}
.lead{font-size:1.08rem;line-height:1.6;max-width:74ch}
.facts{color:var(--ink-2);font-size:.85rem}
nav{position:sticky;top:0;z-index:5;background:color-mix(in srgb,var(--page) 92%,transparent);backdrop-filter:blur(6px);border-bottom:1px solid var(--line);margin-top:1rem}
nav div{max-width:1020px;margin:0 auto;padding:.45rem 1.4rem;display:flex;gap:1.1rem;flex-wrap:wrap;font-size:.85rem;align-items:center}
nav a{color:var(--ink-2);text-decoration:none}
nav a:hover{color:var(--ink);text-decoration:underline}
nav button{margin-left:auto;font:inherit;color:var(--ink-2);background:none;border:1px solid var(--line-2);border-radius:5px;padding:.05rem .55rem;cursor:pointer}
.banner{border:1px solid var(--fault);border-left-width:5px;border-radius:6px;padding:.55rem .9rem;margin:1rem 0;background:color-mix(in srgb,var(--fault) 7%,transparent)}
.banner.mild{border-color:var(--yellow);background:color-mix(in srgb,var(--yellow) 8%,transparent)}
.banner ul{margin:.2rem 0;padding-left:1.2rem}
.tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:.7rem;margin:1.3rem 0}
@media(max-width:780px){.tiles{grid-template-columns:repeat(2,1fr)}}
.tile{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:.7rem .85rem;display:flex;flex-direction:column;min-width:0}
.tile .name{color:var(--ink-2);font-size:.82rem}
.tile .value{font-size:1.6rem;font-weight:650;letter-spacing:-.02em;line-height:1.25}
.tile .value small{font-size:.95rem;font-weight:500;color:var(--ink-2)}
.tile .more{font-size:.78rem;color:var(--ink-2);line-height:1.4;flex:1}
.tile .more+a,.ev{font-size:.76rem;color:var(--ink-2)}
.tile.first{border-color:var(--blue);box-shadow:inset 3px 0 0 var(--blue)}
.def{cursor:help;border-bottom:1px dotted var(--line-2)}
figure{margin:.8rem 0 0}
figcaption,.caption{color:var(--ink-2);font-size:.82rem;max-width:92ch;margin:.3rem 0 0}
figure.chart>svg{display:block;width:100%;height:auto}
.mesh{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:1rem;margin-top:.8rem}
.mesh figure{margin:0;text-align:center}
.mesh svg{width:100%;max-width:230px;height:auto}
.mesh .link{stroke:var(--line-2);stroke-width:1.2}
.mesh .link.half{stroke-width:.7;opacity:.75}
.mesh .link.new{stroke:var(--orange);stroke-width:1.8}
.mesh .link.stale{stroke:var(--fault);stroke-dasharray:4 3;opacity:.75}
.node circle{fill:var(--panel);stroke:var(--ink-2);stroke-width:1.3}
.node text{text-anchor:middle;fill:var(--ink);font-weight:600}
.node.stopped circle{fill:var(--page);stroke:var(--fault)}
.node.stopped text{fill:var(--fault)}
.node.dead circle{fill:var(--page);stroke:var(--fault);stroke-dasharray:2.5 2}
.node.dead text{fill:var(--fault)}
.node.victim.alive circle{fill:color-mix(in srgb,var(--fault) 14%,var(--page));stroke:var(--fault)}
.node.again circle{stroke:var(--green);stroke-width:3}
.bad{color:var(--fault)}
.sequence{width:100%;height:auto;font-size:9.5px}
.sequence .lane text{text-anchor:middle;font-size:11px;font-weight:600;fill:var(--ink)}
.sequence .lane line{stroke:var(--line-2)}
.sequence .lane .gone{stroke:var(--fault);stroke-dasharray:2 4}
.sequence .time{text-anchor:end;fill:var(--ink-2);font-size:9px}
.sequence line{stroke-width:1}
.sequence .request line{stroke:var(--blue)}.sequence .request path{fill:var(--blue)}
.sequence .reply line{stroke:var(--ink-2);stroke-dasharray:4 2.5}.sequence .reply path{fill:var(--ink-2)}
.sequence .caused line{stroke:var(--orange);stroke-width:1.5}.sequence .caused path{fill:var(--orange)}
.sequence .failed line{stroke:var(--fault)}.sequence .failed path,.sequence .failed text{fill:var(--fault)}
.sequence .request text,.sequence .reply text{text-anchor:middle;fill:var(--ink-2);paint-order:stroke;stroke:var(--page);stroke-width:3px}
.sequence .request text{fill:var(--ink)}
.sequence .work rect{fill:color-mix(in srgb,var(--green) 30%,var(--page));stroke:var(--green)}
.sequence .work.failed rect{fill:none;stroke:var(--fault);stroke-dasharray:2 2}
.sequence .work text{fill:var(--green);paint-order:stroke;stroke:var(--page);stroke-width:3px}
.sequence .note text{font-weight:650;fill:var(--ink);font-size:10.5px;paint-order:stroke;stroke:var(--page);stroke-width:3.5px}
.sequence .note circle{fill:var(--ink)}
.sequence .note.end circle{fill:var(--green)}.sequence .note.bad circle,.sequence .note.bad text{fill:var(--fault)}.sequence .note.takeover circle{fill:var(--orange)}
details{border-top:1px solid var(--line);padding:.3rem 0}
details:last-of-type{border-bottom:1px solid var(--line)}
summary{cursor:pointer;padding:.15rem 0}
summary:hover{color:var(--blue)}
.evidence summary span{color:var(--ink-2);font-size:.85rem}
.evidence .count{float:right;background:var(--panel);border:1px solid var(--line);border-radius:99px;padding:0 .5rem;font-size:.75rem}
blockquote{margin:.4rem 0;padding:.2rem .9rem;border-left:3px solid var(--line-2);color:var(--ink-2)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.85rem;width:100%;margin:.5rem 0}
th{text-align:left;color:var(--ink-2);font-weight:550;border-bottom:1.5px solid var(--line-2);vertical-align:bottom}
td,th{padding:.26rem .7rem .26rem 0}
td{border-bottom:1px solid var(--line);vertical-align:top}
.num,th.num{text-align:right;white-space:nowrap}
td.note{color:var(--ink-2);font-size:.8rem}
table.events td{white-space:nowrap}
tr.victim td:first-child{color:var(--fault)}
td small{display:block;color:var(--ink-2);font-weight:400;white-space:nowrap}
td:first-child{min-width:6.5rem}
figure.narrow{max-width:900px;margin-bottom:1.8rem}
td.best{font-weight:700;color:var(--green)}
.none{color:var(--ink-2);font-style:italic}
dl.glossary{display:grid;grid-template-columns:minmax(150px,220px) 1fr;gap:.35rem 1.2rem;font-size:.85rem}
dl.glossary dt{font-weight:600}dl.glossary dd{margin:0;color:var(--ink-2)}
pre{background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:.7rem .9rem;overflow-x:auto;font:12px/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
#tip{position:fixed;z-index:20;pointer-events:none;max-width:340px;background:var(--ink);color:var(--page);font-size:.8rem;line-height:1.4;padding:.35rem .6rem;border-radius:5px;opacity:0;transition:opacity .08s}
#tip.on{opacity:1}
footer{color:var(--ink-2);font-size:.8rem;margin:3rem 0 2rem}
@page{margin:14mm}
@media print{:root,:root[data-scheme]{color-scheme:light}nav,#tip,.ev,.tile a,nav button{display:none}body{font-size:10.5pt}main,header.top{max-width:none;padding:0}figure,.tile,table,.mesh{break-inside:avoid}h2,h3{break-after:avoid}.sequence{max-height:240mm}a{color:inherit;text-decoration:none}}
`;
