/** One protocol's row of the published table of a streaming queue. Times in ms. */
export interface PublishedQueueRow {
  readonly protocol: string;
  readonly questions: number;
  /** null: not in what is published. */
  readonly answered: number | null;
  readonly total_ms: number;
  readonly mean_ms: number;
  readonly min_ms: number;
  readonly max_ms: number;
  readonly std_ms: number;
  /** Questions each of the four workers answered, where the recorded run tells. */
  readonly per_worker: readonly number[] | null;
}

export interface PublishedQueue {
  readonly id: string;
  readonly source: string;
  readonly workers: number;
  readonly rows: readonly PublishedQueueRow[];
  /** In what their setting differs from a run of ours with as many questions and workers. */
  readonly differences: readonly string[];
}

/**
 * ProtocolBench's streaming queue: 1 000 questions, 1 coordinator, 4 workers. The figures are the authors' own, from their repository
 * github.com/ulab-uiuc/AgentProtocols: `routerbench/prompt_template.py` at 6349eb9 (scenario "SQ", `experiment_results`) has all four; the recorded
 * runs behind three of them are in `scenario/streaming_queue/results/qa_results_{a2a,acp,agora}.json` at 38d5e1e and agree with it (answers and
 * shares of the workers are from there). ANP's run was not among the files that could be read. The paper's abstract (arXiv:2510.17149:
 * completion times differ by up to 36.5 %, mean latencies by 3.48 s) agrees with them.
 */
export const PUBLISHED_QUEUE: PublishedQueue = {
  id: "protocolbench",
  source:
    "ProtocolBench (Du et al., arXiv:2510.17149), figures from the authors' repository github.com/ulab-uiuc/AgentProtocols at 6349eb9 and 38d5e1e",
  workers: 4,
  rows: [
    row("acp", 1000, [2_417_000, 9663, 6881, 14_235, 1077], [251, 249, 249, 251]),
    row("a2a", 1000, [2_427_000, 9698, 6938, 15_129, 1127], [250, 249, 250, 251]),
    row("anp", null, [2_843_000, 11_364, 243, 50_104, 5732], null),
    row("agora", 998, [3_298_000, 13_135, 524, 28_213, 5089], [253, 251, 251, 243]),
  ],
  differences: [
    "There, a hosted language model answers, which takes about 9.6 s a question; here, the deterministic engine (or what `llm.*` configures). In the authors' later runs of 100 questions that time the model apart (results_multi_agent at 9bcdf9b), all but 0.1 to 4 ms of a request is the model's time: their totals and latencies compare what the model did that day more than protocols. With ours beside them, only the order of protocols and the spread can be looked at, not the level.",
    "There, coordinator and workers are objects of one process; here, each is a process.",
    "There, latency is from the request to its answer, for questions that were answered, without retries; here, from the first pull of the question, whatever came between, and once more corrected for coordinated omission.",
    "There, an answer counts as a success whatever it says; here, beside it, it is graded against the gold answer.",
  ],
};

function row(
  protocol: string,
  answered: number | null,
  [total_ms, mean_ms, min_ms, max_ms, std_ms]: readonly [number, number, number, number, number],
  per_worker: readonly number[] | null,
): PublishedQueueRow {
  return { protocol, questions: 1000, answered, total_ms, mean_ms, min_ms, max_ms, std_ms, per_worker };
}
