import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** An alert as a test gives it to the server. */
export interface Given {
  type: string;
  data: Record<string, unknown>;
  id?: string;
}

interface Recorded extends Given {
  position: number;
  id: string;
}

/** The policy that the real server sends with the page; the tests fail on any breach of it. */
export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "media-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'self'",
].join("; ");

const KINDS: Record<string, string> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
};

/**
 * Stands in for `tapedeck serve`: it serves the built page and a feed of alerts that resumes by
 * position, and it can be made to fail in every way that a server, a proxy or a network does.
 */
export class FeedServer {
  readonly key = "tdk_test";
  readonly requests: { after: string | undefined; epoch: string | null }[] = [];
  epoch = "epoch-1";
  build = "0.1.0";
  pingMs = 10_000;
  /** When set, the feed answers with this status instead. */
  status: number | null = null;
  /** When true, a new connection gets its hello and then no byte more. */
  silent = false;
  /** Pictures by the name of their content; one that is a promise is answered when it comes. */
  readonly pictures = new Map<string, Buffer | Promise<Buffer>>();
  readonly pictureRequests: string[] = [];
  /** The next requests for pictures are answered with these statuses instead. */
  readonly pictureRefusals: number[] = [];
  /** Alerts are written in pieces of this many bytes. */
  pieceBytes = 7;
  #alerts: Recorded[] = [];
  #position = 0;
  #clients = new Set<ServerResponse>();
  #server: Server = createServer((request, response) => this.#answer(request, response));

  async listen(port = 0): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(port, "127.0.0.1", resolve));
  }

  async close(): Promise<void> {
    this.cut();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  page(fragment = ""): string {
    return `http://127.0.0.1:${this.port}/overlay#key=${this.key}${fragment}`;
  }

  get clients(): number {
    return this.#clients.size;
  }

  /** Records an alert, sends it to everybody connected, and returns its id. */
  give({ type, data, id }: Given, gap = 1): string {
    this.#position += gap;
    const position = this.#position;
    const alert = { type, data, id: id ?? `id-${position}`, position };
    this.#alerts.push(alert);
    for (const client of this.#clients) this.#send(client, alert, "live");
    return alert.id;
  }

  /** Cuts every connection in the middle, as a crash of the server would. */
  cut(): void {
    for (const client of this.#clients) client.destroy();
    this.#clients.clear();
  }

  /** Records an alert, and cuts every connection after half of its bytes. */
  cutInside(given: Given): string {
    const clients = [...this.#clients];
    this.#clients.clear();
    const id = this.give(given);
    for (const client of clients) {
      client.write(`id: ${this.#position}\ndata: {"epoch":"${this.epoch}","posit`, () =>
        client.destroy(),
      );
    }
    return id;
  }

  ping(): void {
    for (const client of this.#clients) this.#frame(client, "ping", "control", {});
  }

  bye(): void {
    for (const client of this.#clients) this.#frame(client, "bye", "control", { reason: "slow" });
  }

  /** Restores the server from a copy: other positions, the same ids, another epoch. */
  restore(epoch: string, shift: number): void {
    this.cut();
    this.epoch = epoch;
    this.#position += shift;
    for (const alert of this.#alerts) alert.position += shift;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "/", "http://localhost");
    const files: Record<string, string> = {
      "/overlay": "overlay.html",
      "/overlay/overlay.js": "overlay.js",
      "/overlay/overlay.css": "overlay.css",
    };
    const picture = /^\/api\/v1\/pictures\/(.+)$/.exec(url.pathname)?.[1];
    if (picture !== undefined) {
      this.pictureRequests.push(picture);
      void this.#answerPicture(picture, response);
      return;
    }
    const file = files[url.pathname];
    if (file) {
      response.setHeader("Content-Type", KINDS[file.split(".").pop() ?? ""] ?? "text/plain");
      response.setHeader("Content-Security-Policy", CONTENT_SECURITY_POLICY);
      response.setHeader("X-Content-Type-Options", "nosniff");
      response.setHeader("Referrer-Policy", "no-referrer");
      response.setHeader("Cache-Control", "no-store");
      response.end(readFileSync(new URL(`../dist/${file}`, import.meta.url)));
    } else if (url.pathname === "/api/v1/feed") {
      this.#feed(request, response, url);
    } else {
      response.writeHead(404).end();
    }
  }

  #feed(request: IncomingMessage, response: ServerResponse, url: URL): void {
    const header = request.headers["last-event-id"];
    this.requests.push({ after: header?.toString(), epoch: url.searchParams.get("epoch") });
    const isKnown = request.headers.authorization === `Bearer ${this.key}`;
    const status = this.status ?? (isKnown ? 200 : 401);
    if (status !== 200) {
      response.writeHead(status).end();
      return;
    }
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    const after = header === undefined ? null : Number(header);
    const hello = { build: this.build, after, resumed: after !== null, ping_ms: this.pingMs };
    this.#frame(response, "hello", "control", hello);
    if (this.silent) return;
    this.#clients.add(response);
    response.on("close", () => this.#clients.delete(response));
    const missed = this.#alerts.filter(({ position }) => position > (after ?? this.#position));
    for (const alert of missed) this.#send(response, alert, "replay");
  }

  async #answerPicture(name: string, response: ServerResponse): Promise<void> {
    const refusal = this.pictureRefusals.shift();
    if (refusal !== undefined) {
      response.writeHead(refusal).end();
      return;
    }
    const bytes = await this.pictures.get(name);
    response.writeHead(bytes ? 200 : 404, { "Content-Type": "image/png" }).end(bytes);
  }

  #send(client: ServerResponse, alert: Recorded, mode: string): void {
    const { position, id, type, data } = alert;
    const at = "2026-11-20T20:00:00Z";
    const envelope = JSON.stringify({ epoch: this.epoch, position, id, type, at, mode, data });
    this.#write(client, `id: ${position}\ndata: ${envelope}\n\n`);
  }

  #frame(client: ServerResponse, type: string, mode: string, data: object): void {
    const at = "2026-11-20T20:00:00Z";
    const { epoch } = this;
    const envelope = { epoch, position: this.#position, id: null, type, at, mode, data };
    this.#write(client, `data: ${JSON.stringify(envelope)}\n\n`);
  }

  #write(client: ServerResponse, text: string): void {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at += this.pieceBytes) {
      client.write(bytes.subarray(at, at + this.pieceBytes));
    }
  }
}
