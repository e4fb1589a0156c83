/** A measure that follows what is more at once and what is less by `gain` of the difference: of late, rather too much than too little. */
export const followPeaks = (before: number, measured: number, gain: number): number =>
  Math.max(measured, before + gain * (measured - before));
