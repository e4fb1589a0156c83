export { findMeasure, formatValue, formatWithUnit, type Measure, MEASURES } from "./measures.ts";
export { type MixTable, pairTable, protocolTable } from "./meta/mixTables.ts";
export { computeMetrics } from "./metrics.ts";
export { PAGE_FILE, writeRunPage } from "./page/writeRunPage.ts";
export { type ResultRow, detectionRows, resultRows } from "./rows.ts";
export { type BadLine, readRun, type RunRecord, toRunRecord } from "./run.ts";
export { type FailstormMetrics, METRICS_SCHEMA_VERSION, metricsJsonSchema, metricsSchema, type StormMetrics } from "./schema.ts";
export { expectedLinks } from "./topology.ts";
export { METRICS_FILE, writeMetrics } from "./writeMetrics.ts";
