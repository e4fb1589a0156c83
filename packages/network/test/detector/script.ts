import type { DetectorKind } from "@failstorm/core";
import {
  createFailureDetector,
  type DetectorEffect,
  type DetectorInput,
  type FailureDetector,
  type GossipItem,
} from "../../src/index.ts";

/*
 * Runs the scripts of this folder. A file holds scenarios; the transcript the detector really gives has the same form, so a failing
 * comparison reads as a diff of the file.
 *
 *   == name of the scenario
 *   detector kind=heartbeat self=a peers=b,c:7 monitored=b interval=1000 timeout=3000 transport=on gossip=on linked=all|fixed|signalled adaptive=on predictive=on phase=c:500 turns=2
 *                                 (ids are incarnation 1 unless said; defaults: heartbeat, all monitored, 1000, 3000, off, off, monitored, off, off, phase 0, one turn a period)
 *   @0 tick -> probe b            effects after the arrow, in order, separated by "; "; nothing after it = none
 *   @5 answered b#1 sent=0 ->     answered b#? when the answer does not name its incarnation
 *   @9 unanswered b refused -> suspect b#1 (probe) heard=5
 *   @9 heard b#1 ->    @9 closed b#1 ->    @9 gone b#1 ->    @9 gossip c: dead b#1, alive d#2^1, suspect e#1 by b ->      (^ refutation, 0 unless said)
 *   @9 gossip c: asked b#1 ->     an indirect probe; its outcome: answered b#1, unanswered b#1
 *   @9 undelivered c: dead b#1 -> what gossip to c came to nothing
 *   @9 monitor b,c ->  @9 wake -> 1000   (nextWakeAt; "never")     @9 status -> b#1 alive, c#1 dead
 *   @0..9000 run -> probe b@0; ...       ticks at every wake-up of the interval
 */

export interface Scenario {
  readonly name: string;
  readonly lines: readonly string[];
}

export function parseScenarios(text: string): Scenario[] {
  return text
    .split(/^== /m)
    .slice(1)
    .map((block) => {
      const [name = "", ...lines] = block.split("\n");
      return { name, lines: lines.map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#")) };
    });
}

const SELF_INCARNATION = 1;

function parseId(text: string): { id: string; incarnation: number; refutation: number } {
  const match = /^(\w+)(?:#(\d+))?(?:\^(\d+))?$/.exec(text);
  if (match === null) throw new Error(`not a peer: ${text}`);
  return { id: match[1] ?? "", incarnation: Number(match[2] ?? 1), refutation: Number(match[3] ?? 0) };
}

function createDetector(line: string): FailureDetector {
  const settings = new Map(line.split(" ").map((word) => word.split("=") as [string, string]));
  const list = (key: string): string[] => (settings.get(key) ?? "").split(",").filter((item) => item !== "");
  const pairs = (key: string): Map<string, number> =>
    new Map(list(key).map((item) => [item.split(":")[0] ?? "", Number(item.split(":")[1] ?? 1)]));
  const phases = pairs("phase");
  const peers = [...pairs("peers")].map(([agentId, incarnation]) => ({ agentId, incarnation }));
  return createFailureDetector((settings.get("kind") ?? "heartbeat") as DetectorKind, {
    self: settings.get("self") ?? "a",
    incarnation: SELF_INCARNATION,
    peers,
    monitored: settings.has("monitored") ? list("monitored") : peers.map((peer) => peer.agentId),
    intervalMs: Number(settings.get("interval") ?? 1000),
    timeoutMs: Number(settings.get("timeout") ?? 3000),
    transportSignals: settings.get("transport") === "on",
    gossip: settings.get("gossip") === "on",
    fullyLinked: settings.has("linked"),
    fixedMembers: ["fixed", "signalled"].includes(settings.get("linked") ?? ""),
    allSignalled: settings.get("linked") === "signalled",
    adaptive: settings.get("adaptive") === "on",
    predictive: settings.get("predictive") === "on",
    ...(settings.has("turns") ? { turns: () => Number(settings.get("turns")) } : {}),
    phase: (peer) => phases.get(peer) ?? 0,
    startAt: 0,
  });
}

function itemText(item: GossipItem): string {
  const who = `${item.peer}#${item.incarnation}`;
  if ("probe" in item) return `${item.probe} ${who}`;
  const { state, refutation, by } = item;
  return `${state} ${who}${refutation === 0 ? "" : `^${refutation}`}${by === undefined ? "" : ` by ${by}`}`;
}

function parseItem(text: string): GossipItem {
  const [word = "", who = "", , by] = text.trim().split(" ");
  const { id: peer, incarnation, refutation } = parseId(who);
  if (word === "asked" || word === "answered" || word === "unanswered") return { peer, incarnation, probe: word };
  if (word !== "alive" && word !== "suspect" && word !== "dead") throw new Error(`not gossip: ${text}`);
  return { peer, incarnation, refutation, state: word, ...(by === undefined ? {} : { by }) };
}

function effectText(effect: DetectorEffect): string {
  switch (effect.kind) {
    case "probe":
    case "identify":
      return `${effect.kind} ${effect.peer}`;
    case "suspect":
    case "dead":
      return `${effect.kind} ${effect.peer}#${effect.incarnation} (${effect.how}) heard=${effect.lastHeard}`;
    case "alive":
      return `alive ${effect.peer}#${effect.incarnation} (${effect.how}) was=${effect.was}`;
    case "standby":
      return `standby ${effect.peer}#${effect.incarnation} (${effect.reason}) score=${effect.score.toFixed(1)}`;
    case "gossip":
      return `gossip ${effect.to.join(",")}: ${effect.entries.map(itemText).join(", ")}`;
    default:
      return effect satisfies never;
  }
}

function parseInput(words: readonly string[], rest: string): DetectorInput {
  const [kind = "", peerText = "", option = ""] = words;
  if (kind === "gossip" || kind === "undelivered") {
    const [who = "", items = ""] = rest.split(": ");
    const entries = items.split(", ").map(parseItem);
    return kind === "gossip" ? { kind, from: who, entries } : { kind, to: who, entries };
  }
  const peer = peerText.split("#")[0] ?? "";
  if (kind === "unanswered") {
    const sentAt = /sent=(\d+)/.exec(rest)?.[1];
    return { kind, peer, refused: words.includes("refused"), ...(sentAt === undefined ? {} : { sentAt: Number(sentAt) }) };
  }
  const incarnation = peerText.endsWith("#?") ? null : parseId(peerText).incarnation;
  if (kind === "answered") return { kind, peer, incarnation, sentAt: Number(option.replace("sent=", "")) };
  if ((kind === "heard" || kind === "closed" || kind === "gone") && incarnation !== null) return { kind, peer, incarnation };
  throw new Error(`not an input: ${words.join(" ")}`);
}

function runUntil(detector: FailureDetector, end: number): string[] {
  const lines: string[] = [];
  for (let wakeAt = detector.nextWakeAt(); wakeAt !== null && wakeAt <= end; wakeAt = detector.nextWakeAt()) {
    lines.push(...detector.tick(wakeAt).map((effect) => `${effectText(effect)}@${wakeAt}`));
  }
  return lines;
}

function perform(detector: FailureDetector, time: string, action: string): string {
  const now = Number(time.split("..")[0]);
  const words = action.split(" ");
  const rest = words.slice(1).join(" ");
  const effects = (list: readonly DetectorEffect[]): string => list.map(effectText).join("; ");
  switch (words[0]) {
    case "tick":
      return effects(detector.tick(now));
    case "run":
      return runUntil(detector, Number(time.split("..")[1])).join("; ");
    case "wake":
      return String(detector.nextWakeAt() ?? "never");
    case "status":
      return detector
        .status()
        .map((peer) => `${peer.peer}#${peer.incarnation} ${peer.state}`)
        .join(", ");
    case "monitor":
      detector.monitor(
        rest.split(",").filter((id) => id !== ""),
        now,
      );
      return "";
    default:
      return effects(detector.receive(parseInput(words, rest), now));
  }
}

/** The scenario as it really went. */
export function transcript(scenario: Scenario): string[] {
  const [first = "", ...steps] = scenario.lines;
  const detector = createDetector(first);
  const lines = steps.map((line) => {
    const match = /^@([\d.]+) (.*?) ->/.exec(line);
    if (match === null) throw new Error(`not a step: ${line}`);
    const [, time = "", action = ""] = match;
    return `@${time} ${action} -> ${perform(detector, time, action)}`.trimEnd();
  });
  return [first, ...lines];
}
