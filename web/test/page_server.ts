import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { Socket } from "./socket";

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
  "frame-ancestors 'self' http://absolute file:",
].join("; ");

const KINDS: Record<string, string> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
};

/**
 * Stands in for `tapedeck serve` as far as every page needs it: it serves the built pages and the
 * pictures under the policy, lets sockets in by their key, and can be made to refuse them.
 */
export abstract class PageServer {
  readonly key = "tdk_test";
  build = "0.1.0";
  pingMs = 10_000;
  /** When set, what is no page is answered with this status instead. */
  status: number | null = null;
  /** When true, a new connection gets not a byte. */
  silent = false;
  /** Pictures by the name of their content; one that is a promise is answered when it comes. */
  readonly pictures = new Map<string, Buffer | Promise<Buffer>>();
  readonly pictureRequests: string[] = [];
  /** The next requests for pictures are answered with these statuses instead. */
  readonly pictureRefusals: number[] = [];
  /** The addresses of all sockets that were let in. */
  readonly requests: URL[] = [];
  readonly #path: RegExp;
  #sockets = new Set<Socket>();
  #server: Server = createServer((request, response) => this.#answer(request, response));

  /** `path` is where sockets are let in. */
  constructor(path: RegExp) {
    this.#path = path;
    this.#server.on("upgrade", (request, wire, head) => this.#upgrade(request, wire, head));
  }

  /** Greets a new connection. */
  protected abstract welcome(socket: Socket, url: URL): void;

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

  get clients(): number {
    return this.#sockets.size;
  }

  page(fragment = "", page = "overlay"): string {
    return `http://127.0.0.1:${this.port}/${page}#key=${this.key}${fragment}`;
  }

  /** Cuts every connection in the middle, as a crash of the server would; perhaps inside a frame. */
  cut(half = ""): void {
    for (const socket of this.#sockets) socket.cut(half);
    this.#sockets.clear();
  }

  broadcast(frame: object): void {
    for (const socket of this.#sockets) socket.send(JSON.stringify(frame));
  }

  #upgrade(request: IncomingMessage, wire: Duplex, head: Buffer): void {
    const url = new URL(request.url ?? "/", "http://localhost");
    const offered = String(request.headers["sec-websocket-protocol"] ?? "").split(/,\s*/);
    const isKnown = offered.includes("tapedeck.v1") && offered.includes(`bearer.${this.key}`);
    const status = this.status ?? (this.#path.test(url.pathname) ? (isKnown ? null : 401) : 404);
    if (status !== null) {
      wire.end(`HTTP/1.1 ${status} No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    this.requests.push(url);
    if (this.silent) {
      wire.on("error", () => wire.destroy());
      return;
    }
    const socket = new Socket(request, wire, head);
    this.#sockets.add(socket);
    socket.onClose = () => this.#sockets.delete(socket);
    this.welcome(socket, url);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const picture = /^\/api\/v1\/pictures\/(.+)$/.exec(pathname)?.[1];
    const page = /^\/([a-z]+)(?:\/(\1\.(?:js|css)))?$/.exec(pathname);
    if (picture !== undefined) {
      this.pictureRequests.push(picture);
      void this.#answerPicture(picture, response);
    } else if (page && ["overlay", "chat"].includes(page[1] ?? "")) {
      const file = page[2] ?? `${page[1]}.html`;
      response.setHeader("Content-Type", KINDS[file.split(".").pop() ?? ""] ?? "text/plain");
      response.setHeader("Content-Security-Policy", CONTENT_SECURITY_POLICY);
      response.setHeader("X-Content-Type-Options", "nosniff");
      response.setHeader("Referrer-Policy", "no-referrer");
      response.setHeader("Cache-Control", "no-store");
      response.end(readFileSync(new URL(`../dist/${file}`, import.meta.url)));
    } else {
      const isKnown = request.headers.authorization === `Bearer ${this.key}`;
      const found = this.#path.test(pathname) ? 426 : 404;
      response.writeHead(this.status ?? (isKnown ? found : 401)).end();
    }
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
}
