import type { Requirement } from "../requirements.ts";

const rows: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "who hosts what": {
    hosts:
      "Enabled protocols are dealt in turn, by count or in equal shares, or as said agent by agent; what does not fit the agents is bad input.",
    config: "Every key of the section and of the members' own is checked: bad input names key, value and remedy.",
  },
  "what it is": {
    facts: "What the mix says of a protocol before it is loaded is what that says itself.",
    info: "It declares what every agent of the network has; probes are native or added by peer.",
    lazy: "A protocol's code is loaded by whoever hosts or dials it.",
    complies: "It does what every protocol must, where agents host different single protocols and where they host several.",
  },
  "the host": {
    mount:
      "One protocol at the root, several each under its name; who speaks ANP without hosting it can be looked up under /anp, and takes no messages.",
  },
  "messages across protocols": {
    pairs:
      "Every pair of protocols exchanges handshakes, probes, text, parts, many at once, errors, deadlines, repeated keys and a megabyte; each result and failure says by which protocol.",
    peer: "What a peer can is its own protocols' affair; work is known by protocol and id, and is followed up in that protocol.",
    client: "A program that hosts nothing talks to all of them; whoever is not of the network is unknown_agent.",
  },
  "a peer that hosts several": {
    choice: "Each choice is announced once, with its reason.",
    unmet: "What is required to be protected is not sent otherwise.",
    fallback: "A handshake that fails in one of them is tried in another; not when nobody listens.",
    again: "After it came back, a protocol that dealt with its former life meets it again before it carries a message.",
    once: "Agora meets a peer before its first message to it, and not again for a message's sake: what it agreed outlives the peer.",
  },
  "the router": {
    "route-first": "First by the configuration's preference, then by the fewest round trips.",
    "route-only": "Where there is no choice it says so.",
    "route-needs": "What a message requires, then what it would gain by, narrows what may carry it.",
    "route-unmet": "A requirement that nothing meets is dropped, unless it protects.",
    "route-require": "What the configuration requires of all messages holds for links and handshakes too, and not for probes.",
    "route-link": "Per link, only requirements count.",
    "route-kind": "Per kind, handshakes, probes and messages have routes of their own; wishes do not count, requirements do.",
    "route-bytes":
      "Per kind, what adds fewer bytes to what is carried takes over, by a margin, where latency, loss and round trips leave a choice.",
    "route-measure": "What is cheaper takes over; the reason has the figures.",
    "route-hysteresis": "By a margin, after a dwell time, and by more than chance.",
    "route-kinds": "Equal kinds of message are compared, with this peer or else with all.",
    "route-large": "Large messages are measured and routed apart.",
    "route-explore": "Now and then another protocol is tried, where it would do and tells something.",
    "route-loss": "Three losses in a row end a route; a share of losses counts as latency and fades.",
    "route-death": "What was lost with a process is not held against the protocol.",
    "route-recovery": "After a death the handshake is in what comes back soonest, by measure or by round trips.",
    "route-fallback": "A handshake that another protocol completed moves the link to it.",
  },
};

export const requirements: readonly Requirement[] = Object.entries(rows).flatMap(([section, claims]) =>
  Object.entries(claims).map(([id, behaviour]) => ({
    id: `meta-${id}`,
    section: `packages/protocols/src/meta/README.md, ${section}`,
    behaviour,
  })),
);
