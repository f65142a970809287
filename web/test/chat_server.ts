import { PageServer } from "./page_server";
import type { Socket } from "./socket";

/** A line as a test gives it to the server. */
export interface GivenLine {
  id: string;
  viewer?: { id: string; name: string | null };
  colour?: string | null;
  badges?: string[];
  parts: unknown[];
  bot?: boolean;
  request?: boolean;
}

/** Stands in for the chat of `tapedeck serve`: a greeting, the last lines, and what comes. */
export class ChatServer extends PageServer {
  /** What a page gets that has just come. */
  readonly last: GivenLine[] = [];

  constructor() {
    super(/^\/api\/v1\/chat\/ws$/);
  }

  say(line: GivenLine): void {
    this.broadcast(frameOf(line));
  }

  protected welcome(socket: Socket): void {
    socket.send(JSON.stringify({ type: "hello" }));
    for (const line of this.last) socket.send(JSON.stringify(frameOf(line)));
  }
}

function frameOf(line: GivenLine) {
  const viewer = { id: "5001", name: "ReelDeal" };
  const at = "2026-11-20T20:00:00Z";
  const plain = { viewer, colour: null, badges: [], at, bot: false, request: false };
  return { type: "line", ...plain, ...line };
}
