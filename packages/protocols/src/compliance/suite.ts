import { accounting } from "./accounting.ts";
import { closing, deaths } from "./deaths.ts";
import { casesFor } from "./define.ts";
import { deadlines, misbehaving, unreachable } from "./failures.ts";
import { description, handshake } from "./handshake.ts";
import { idempotency, messages } from "./messages.ts";
import { cancellation, resumption, streaming } from "./streaming.ts";
import type { ComplianceCase, Subject } from "./subject.ts";
import { wire } from "./wire.ts";

export type { ComplianceCase, Subject } from "./subject.ts";

/**
 * What every protocol must do, whatever it is: the cases that apply to the capabilities it declares. A case is a value with a title and
 * a function that rejects with what does not hold, for any test runner:
 *
 *     for (const { title, run, timeoutMs } of complianceCases({ protocol, module: "./my-protocol.ts" })) test(title, run, timeoutMs);
 */
export const complianceCases = (subject: Subject): ComplianceCase[] =>
  casesFor(subject, [
    ...description,
    ...handshake,
    ...messages,
    ...idempotency,
    ...streaming,
    ...cancellation,
    ...resumption,
    ...unreachable,
    ...misbehaving,
    ...deadlines,
    ...accounting,
    ...wire,
    ...deaths,
    ...closing,
  ]);
