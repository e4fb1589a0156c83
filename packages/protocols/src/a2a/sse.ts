/** One stretch of a stream of server-sent events may hold one big answer; a peer that never ends a line is cut off here, bytes. */
const MAX_EVENT_CHARS = 96 * 1024 * 1024;

/**
 * The `data` of server-sent events (WHATWG HTML §9.2), as they arrive. Only a new chunk is searched for line ends, so that an event
 * of many megabytes costs its length, not its square. Throws RangeError past the limit; errors of the stream pass through.
 */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let pieces: string[] = [];
  let pending = 0;
  let data: string[] = [];
  const endLine = (rest: string): string | null => {
    const whole = pieces.length === 0 ? rest : pieces.join("") + rest;
    pieces = [];
    pending = 0;
    const line = whole.endsWith("\r") ? whole.slice(0, -1) : whole;
    if (line === "") {
      const event = data.length === 0 ? null : data.join("\n");
      data = [];
      return event;
    }
    if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
    return null;
  };
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const chunk = decoder.decode(value, { stream: true });
      let start = 0;
      for (let end = chunk.indexOf("\n"); end !== -1; end = chunk.indexOf("\n", start)) {
        const event = endLine(chunk.slice(start, end));
        start = end + 1;
        if (event !== null) yield event;
      }
      pieces.push(start === 0 ? chunk : chunk.slice(start));
      pending += chunk.length - start;
      if (pending > MAX_EVENT_CHARS) throw new RangeError(`an event of more than ${MAX_EVENT_CHARS} characters`);
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** One event with `data`; JSON has no line ends of its own. */
export const formatEvent = (data: unknown): string => `data: ${JSON.stringify(data)}\n\n`;
