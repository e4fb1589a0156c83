import type { Requirement } from "../requirements.ts";

const section = (name: string): string => `packages/protocols/README.md, simple_json: ${name}`;

export const requirements: readonly Requirement[] = [
  {
    id: "simple_json-message",
    section: section("POST /message"),
    behaviour: "A message is {id, from, to, payload: {text} | {parts}}; its answer {inReplyTo, from, parts}.",
  },
  { id: "simple_json-agent", section: section("GET /agent"), behaviour: "The handshake: who the agent is, in one round trip." },
  { id: "simple_json-health", section: section("GET /health"), behaviour: "The probe, with the incarnation that answers." },
  { id: "simple_json-size", section: section("errors"), behaviour: "Up to 64 MB; more is 413 too_large." },
  {
    id: "simple_json-errors",
    section: section("errors"),
    behaviour: "What is no message is answered with {error: {code, message}} and not executed; the host serves on.",
  },
  {
    id: "simple_json-execution-failed",
    section: section("errors"),
    behaviour: "An execution that throws is 500 execution_failed.",
  },
  {
    id: "simple_json-repeat",
    section: section("idempotency"),
    behaviour: "A repeated id is answered from the record for at least a minute, with repeated: true.",
  },
  {
    id: "simple_json-repeat-forgotten",
    section: section("idempotency"),
    behaviour: "The record is in memory; a crash forgets it.",
  },
  {
    id: "simple_json-no-idempotency",
    section: section("control experiments"),
    behaviour: "idempotency: false executes repetitions again and changes nothing else.",
  },
  {
    id: "simple_json-no-idempotency-bytes",
    section: section("control experiments"),
    behaviour: "idempotency: false moves no byte of a message that is not repeated.",
  },
  {
    id: "simple_json-extra-bytes",
    section: section("control experiments"),
    behaviour: "extra_header_bytes: n adds one header of n bytes to each request and changes nothing else.",
  },
  {
    id: "simple_json-config",
    section: section("configuration"),
    behaviour: "Unknown keys and values out of range are bad input.",
  },
];
