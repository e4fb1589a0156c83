import { closeSync, openSync } from "node:fs";
import { devNull } from "node:os";

/** One of eight agents has about 70 connections open. In a mesh of many more, what is opened beyond this number is closed first again. */
const COUNT = 256;

/**
 * Occupies the lowest free descriptor numbers until it is told to release them, so that what is opened meanwhile gets higher ones than what
 * is opened later. Linux closes the descriptors of a dead process from the highest number down (`task_work_run`, last in, first out; measured,
 * see packages/DECISIONS.md). The streams that others hold to this process are among the first to be closed then, and the port it
 * listens on comes next: survivors hear of the death, and are refused when they ask, before the failures of their
 * requests keep them busy.
 */
export class LowDescriptors {
  private readonly descriptors: number[] = [];

  constructor() {
    try {
      while (this.descriptors.length < COUNT) this.descriptors.push(openSync(devNull, "r"));
    } catch {
      // Where so many are not allowed, the order is as it happens to be.
      this.release();
    }
  }

  release(): void {
    for (const descriptor of this.descriptors.splice(0)) closeSync(descriptor);
  }
}
