/** A row of a published table, with its own words for the columns. */
export interface PublishedRow {
  readonly protocol: string;
  /** Answer discovery before and after the fault, %. */
  readonly discoveryPre: number;
  readonly discoveryPost: number;
  /** Average latency before and after, s. */
  readonly latencyPre: number;
  readonly latencyPost: number;
  /** From the kill to the last reconnection, s. */
  readonly recovery: number;
}

export interface PublishedTable {
  readonly id: string;
  readonly source: string;
  readonly rows: readonly PublishedRow[];
  /** In what their setting differs from a run of ours with the same agents, victims and times. */
  readonly differences: readonly string[];
}

/**
 * The numbers of others that experiments name with `published`.
 * protocolbench: Du et al., "Which LLM Multi-Agent Protocol to Choose?" (ProtocolBench), arXiv:2510.17149, table 3b; its setting in
 * appendices D.4 and E.2.1.
 */
const TABLES: readonly PublishedTable[] = [
  {
    id: "protocolbench",
    source: "ProtocolBench (Du et al., arXiv:2510.17149, table 3b)",
    rows: [
      { protocol: "acp", discoveryPre: 14.76, discoveryPost: 13.64, latencyPre: 4.38, latencyPost: 4.19, recovery: 8.05 },
      { protocol: "a2a", discoveryPre: 14.74, discoveryPost: 14.57, latencyPre: 4.34, latencyPost: 4.19, recovery: 8.0 },
      { protocol: "anp", discoveryPre: 14.88, discoveryPost: 12.94, latencyPre: 4.34, latencyPost: 4.18, recovery: 8.0 },
      { protocol: "agora", discoveryPre: 14.91, discoveryPost: 12.12, latencyPre: 4.33, latencyPost: 4.18, recovery: 8.0 },
    ],
    differences: [
      "There, an LLM (Qwen2.5-VL-72B) answers questions of 2WikiMultiHopQA, about one in seven rightly; here, deterministic workers answer calibrated questions, all of them without a fault. The levels cannot be compared, only what the fault does to them.",
      "There, all agents are in one process and a kill stops an object; here, each is a process that gets a SIGKILL. Their recovery time contains a restart delay of 2 s, as ours does (restart_after), and is reported as 8.0 s for all protocols but one.",
      "There, latency is that of tasks as they are begun; here, it counts from the intended start (open loop), right answers only.",
      "Recovery: theirs from the kill to the last reconnection of an affected agent; ours `reconnected_all_ms`, until the links equal those of the whole topology, restarted victims included.",
      "Their windows: 60 s before the kill, and 60 s after the last reconnection; ours the same, cut at the end of the run. Their cycles of 120 s follow one another; each run of ours is one cycle.",
    ],
  },
];

export const findPublished = (id: string | null): PublishedTable | null => TABLES.find((table) => table.id === id) ?? null;
