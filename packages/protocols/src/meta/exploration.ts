import type { Errand } from "./sizes.ts";

/** When a protocol is tried next. */
interface Trial {
  due: number;
  gap: number;
}

/** By this much a gap grows with each trial of what is known well enough. */
const GROWTH = 4;

/**
 * When something else than a route's protocol is tried, so that there is something to compare: each of the others once in `every` × their
 * number of messages at first, and four times as rarely with each trial that finds it known well enough. So the number of trials grows
 * with the logarithm of the messages (ε_n-greedy with ε_n ∝ 1 / n: Auer, Cesa-Bianchi and Fischer, Machine Learning 47, 2002). Counted over all peers,
 * by errand: what a protocol costs is hardly the peer's.
 */
export class Exploration {
  private readonly every: number;
  private readonly sent = new Map<Errand, number>();
  private readonly trials = new Map<string, Trial>();

  /** 0: nothing is ever tried. */
  constructor(every: number) {
    this.every = every;
  }

  /** The one that the next message goes by instead; null: by its route's. `isKnown`: nothing much is learnt of it any more. */
  next(errand: Errand, others: readonly string[], isKnown: (protocol: string) => boolean): string | null {
    if (this.every === 0) return null;
    const sent = (this.sent.get(errand) ?? 0) + 1;
    this.sent.set(errand, sent);
    const [first] = others
      .map((protocol, index) => ({ protocol, trial: this.trial(errand, protocol, { index, of: others.length }) }))
      .filter(({ trial }) => trial.due <= sent)
      .toSorted((a, b) => a.trial.due - b.trial.due);
    if (first === undefined) return null;
    const { protocol, trial } = first;
    if (isKnown(protocol)) trial.gap *= GROWTH;
    trial.due = sent + trial.gap;
    return protocol;
  }

  private trial(errand: Errand, protocol: string, { index, of }: { readonly index: number; readonly of: number }): Trial {
    const key = `${errand} ${protocol}`;
    const known = this.trials.get(key);
    if (known !== undefined) return known;
    const trial = { due: this.every * (index + 1), gap: this.every * of };
    this.trials.set(key, trial);
    return trial;
  }
}
