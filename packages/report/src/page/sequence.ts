import { type AgentId, byAgentIndex, type RunEventOf, type TaskId } from "@failstorm/core";
import { affectedTasks, type TaskResult } from "../tasks.ts";
import type { RunView } from "./runView.ts";

/** One thing that happened on the way of a question, at one instant. `lane`: the agent it happened at. */
export type Happening = { readonly t: number; readonly lane: AgentId } & (
  | { readonly kind: "note"; readonly tone: "start" | "end" | "bad" | "takeover"; readonly text: string }
  | {
      readonly kind: "request";
      readonly to: AgentId;
      readonly text: string;
      readonly bytes: number;
      readonly cause: string;
      readonly failed: boolean;
    }
  | { readonly kind: "reply"; readonly to: AgentId; readonly bytes: number; readonly ms: number; readonly error: string | null }
  | { readonly kind: "work"; readonly until: number | null; readonly text: string }
);

/** A question and everything recorded about it. */
export interface QuestionPath {
  readonly title: string;
  readonly result: TaskResult;
  readonly lanes: readonly AgentId[];
  readonly happenings: readonly Happening[];
  readonly bytes: number;
  readonly messages: number;
}

/** More than this is a poster, not a figure. */
const MAX_HAPPENINGS = 170;

const messageStart = (event: RunEventOf<"msg">): number => event.t - event.ms;

function messagesOf(view: RunView, task: TaskId): Happening[] {
  return view.timeline.index
    .of("msg")
    .filter((event) => event.task === task)
    .flatMap((event): Happening[] => {
      const text = event.kind === "tool" ? (event.step ?? "tool") : event.kind;
      const again = event.attempt > 1 ? ` (attempt ${event.attempt})` : "";
      return [
        {
          t: messageStart(event),
          lane: event.src,
          kind: "request",
          to: event.to,
          text: `${text}${again}`,
          bytes: event.bytesSent,
          cause: event.cause,
          failed: event.error !== null,
        },
        {
          t: event.t,
          lane: event.to,
          kind: "reply",
          to: event.src,
          bytes: event.bytesReceived,
          ms: event.ms,
          error: event.error,
        },
      ];
    });
}

function workOf({ timeline }: RunView, task: TaskId): Happening[] {
  const ends = new Map(
    timeline.index
      .of("step.finished")
      .filter((event) => event.task === task)
      .map((event) => [`${event.src}/${event.inc}/${event.exec}`, event.t]),
  );
  return timeline.index
    .of("step.started")
    .filter((event) => event.task === task)
    .map((event) => ({
      t: event.t,
      lane: event.src,
      kind: "work",
      text: event.step,
      until: ends.get(`${event.src}/${event.inc}/${event.exec}`) ?? null,
    }));
}

function notesOf({ timeline }: RunView, result: TaskResult): Happening[] {
  const { task } = result.task;
  const note = (t: number, lane: AgentId, tone: "start" | "end" | "bad" | "takeover", text: string): Happening => ({
    t,
    lane,
    kind: "note",
    tone,
    text,
  });
  return [
    ...result.starts.map((event) =>
      note(event.t, event.src, "start", event.orphanOf === null ? "starts" : `starts anew for ${event.orphanOf}`),
    ),
    ...result.outcomes.map((event) =>
      note(
        event.t,
        event.src,
        event.status === "answered" ? "end" : "bad",
        event.status === "answered" ? `“${event.answer}”` : event.status.replace("_", " "),
      ),
    ),
    ...timeline.index
      .of("takeover.claimed")
      .filter((event) => event.kind === "task" && event.id === task)
      .map((event) => note(event.t, event.src, "takeover", `takes it over from ${event.from}`)),
  ];
}

/** Everything recorded about one question, in order of time; deaths of those it touched among it. */
export function followQuestion(view: RunView, result: TaskResult, title: string): QuestionPath {
  const { task } = result.task;
  const own = [...messagesOf(view, task), ...workOf(view, task), ...notesOf(view, result)];
  const lanes = new Set(own.flatMap((event) => ("to" in event ? [event.lane, event.to] : [event.lane])));
  const [from, to] = [Math.min(...own.map((event) => event.t)), Math.max(...own.map((event) => event.t))];
  const deaths = view.timeline.storms
    .filter((storm) => !storm.fake)
    .flatMap(({ kind, victims }) => victims.map((victim) => ({ ...victim, text: kind === "sigstop" ? "stopped" : "killed" })))
    .filter((victim) => lanes.has(victim.agent) && victim.before >= from && victim.before <= to)
    .map(({ before, agent, text }): Happening => ({ t: before, lane: agent, kind: "note", tone: "bad", text }));
  const happenings = [...own, ...deaths].sort((a, b) => a.t - b.t);
  const sums = happenings.map((event) => ("bytes" in event ? event.bytes : 0));
  return {
    title,
    result,
    lanes: [...lanes].sort(byAgentIndex),
    happenings,
    bytes: sums.reduce((sum, bytes) => sum + bytes, 0),
    messages: happenings.filter((event) => event.kind === "request").length,
  };
}

/** The questions worth following: one whose owner died, one that lost a helper, one that met no fault. */
export function chooseQuestions(view: RunView): QuestionPath[] {
  const affected = view.timeline.storms.flatMap((storm) => affectedTasks(view.timeline, storm, view.tasks));
  const recorded = Map.groupBy(view.timeline.index.of("msg"), (event) => event.task);
  const touched = new Set(affected.map((task) => task.result.task.task));
  const isWhole = ({ task, starts }: TaskResult): boolean => {
    const messages = recorded.get(task.task)?.length ?? 0;
    // Request and reply: of very many agents no question fits, and none is followed in vain.
    return messages > 0 && 2 * messages <= MAX_HAPPENINGS && starts.length > 0;
  };
  const quick = (a: TaskResult, b: TaskResult): number => (a.latencyMs ?? 0) - (b.latencyMs ?? 0);
  const claimed = new Set(view.timeline.index.of("takeover.claimed").map((event) => event.id));
  const started = affected
    .filter((task) => task.orphaned && isWhole(task.result) && claimed.has(task.result.task.task))
    .map((task) => task.result);
  const helpers = affected.filter((task) => task.because === "holder" && isWhole(task.result)).map((task) => task.result);
  const untouched = view.tasks.filter((task) => !touched.has(task.task.task) && task.good && isWhole(task)).sort(quick);
  const pick = (title: string, list: readonly TaskResult[]): QuestionPath[] => {
    for (const result of list) {
      const path = followQuestion(view, result, title);
      if (path.happenings.length <= MAX_HAPPENINGS && path.messages > 0) return [path];
    }
    return [];
  };
  const goodFirst = (list: TaskResult[]): TaskResult[] => [
    ...list.filter((task) => task.good).sort(quick),
    ...list.filter((task) => !task.good),
  ];
  return [
    ...pick("Its owner was killed", goodFirst(started)),
    ...pick("A helper was killed", goodFirst(helpers)),
    ...pick("Undisturbed", untouched.slice(Math.floor(untouched.length / 2))),
  ];
}
