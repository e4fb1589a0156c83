import type { AgentId } from "@failstorm/core";
import { byRing } from "./gossip.ts";
import type { PhaseName } from "./peer.ts";

/**
 * Who tells whom where there are many, everybody can be sent to, and nobody joins or leaves. The ring of ids is cut into about √N segments of
 * about √N ids; for each speaks the first of it that lives. Who finds something out tells its speaker, a speaker tells the other speakers and
 * its own segment: three hops and about N messages a piece of news (doubling steps around the ring take log2 N hops and N log2 N
 * messages), and what several find out at once is put together on the way. Whoever is suspect is passed over, and told all the same
 * (where suspicions are told, as soon as it is found to live).
 */
export class Segments {
  private readonly segments: readonly (readonly AgentId[])[];
  private readonly places = new Map<AgentId, number>();
  private readonly self: AgentId;
  private readonly standing: (id: AgentId) => PhaseName;

  constructor(self: AgentId, others: readonly AgentId[], standing: (id: AgentId) => PhaseName) {
    this.self = self;
    this.standing = (id) => (id === self ? "alive" : standing(id));
    const ring = [self, ...others].sort(byRing);
    const length = Math.ceil(Math.sqrt(ring.length));
    const count = Math.ceil(ring.length / length);
    this.segments = Array.from({ length: count }, (_, index) => ring.slice(index * length, (index + 1) * length));
    for (const [index, segment] of this.segments.entries()) for (const id of segment) this.places.set(id, index);
  }

  /** Whether this agent speaks for its segment. */
  speaks(): boolean {
    return this.speakersOf(this.places.get(this.self) ?? 0).at(-1) === this.self;
  }

  /** To whom goes what was learnt of `about` from `from`; undefined: found out here, or of nobody. */
  targets({ about, from }: { readonly about?: AgentId; readonly from?: AgentId | undefined } = {}): readonly AgentId[] {
    const own = this.places.get(this.self) ?? 0;
    const speakers = this.speakersOf(own, about);
    if (speakers.at(-1) !== this.self) return speakers;
    const members = (this.segments[own] ?? []).filter((id) => id !== this.self && this.standing(id) !== "dead");
    if (from !== undefined && this.isToldToAll(from)) return members;
    return [...members, ...this.segments.flatMap((_, index) => (index === own ? [] : this.speakersOf(index, about)))];
  }

  /**
   * What comes from the speaker of another segment comes from one who tells all others, too. Not so what an heir gets: the one before it may have
   * died, and that one's teller may be the only other who knows.
   */
  private isToldToAll(from: AgentId): boolean {
    return this.isOtherSpeaker(from) && this.segments[this.places.get(this.self) ?? 0]?.[0] === this.self;
  }

  /** Whether what `from` told need be told to another segment only because somebody may have died who was to do that. */
  isInsurance(to: AgentId, from: AgentId | undefined): boolean {
    return from !== undefined && !this.isOwn(to) && this.isOtherSpeaker(from);
  }

  private isOtherSpeaker(id: AgentId): boolean {
    const place = this.places.get(id);
    return place !== undefined && !this.isOwn(id) && this.speakersOf(place).includes(id);
  }

  private isOwn(id: AgentId): boolean {
    return this.places.get(id) === this.places.get(this.self);
  }

  /** In place of one that could not be reached, if it is one that passes things on. */
  standInsFor(id: AgentId): readonly AgentId[] {
    const segment = this.segmentOf(id);
    const speaker = segment.find((other) => other !== id && this.standing(other) === "alive");
    if (speaker === undefined || segment.indexOf(speaker) < segment.indexOf(id)) return [];
    return speaker === this.self ? this.targets().filter((other) => other !== id) : [speaker];
  }

  /**
   * Whom to tell all there is, since one has died, or is suspected, who may have kept something to itself: whoever speaks in its place; all, who
   * does so now.
   */
  heirsOf(lost: AgentId): readonly AgentId[] {
    const own = this.places.get(this.self) ?? 0;
    const concerns = this.places.get(lost) === own || this.speaks();
    return concerns ? this.standInsFor(lost) : [];
  }

  private segmentOf(id: AgentId): readonly AgentId[] {
    return this.segments[this.places.get(id) ?? 0] ?? [];
  }

  /** The first that lives, behind those before it that may be dead; never the one `about` whom there is something to tell, whatever is said of it. */
  private speakersOf(index: number, about?: AgentId): AgentId[] {
    const speakers: AgentId[] = [];
    for (const id of this.segments[index] ?? []) {
      const standing = id === about ? "dead" : this.standing(id);
      if (standing !== "dead") speakers.push(id);
      if (standing === "alive") break;
    }
    return speakers;
  }
}
