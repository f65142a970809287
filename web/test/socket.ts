import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

/** One WebSocket as a server sees it, as far as RFC 6455 is needed by a page that says little. */
export class Socket {
  readonly #wire: Duplex;
  #bytes = Buffer.alloc(0);
  onText: (text: string) => void = () => undefined;
  onClose: () => void = () => undefined;

  /** Answers the upgrade, and takes up the protocol that our pages offer. */
  constructor(request: IncomingMessage, wire: Duplex, head: Buffer) {
    this.#wire = wire;
    const accept = createHash("sha1")
      .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest("base64");
    wire.write(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: tapedeck.v1\r\n\r\n`,
    );
    wire.on("data", (bytes: Buffer) => this.#read(bytes));
    wire.on("close", () => this.onClose());
    // A browser that was killed ends its half; Node.js would keep ours open until something is written.
    wire.on("end", () => wire.end());
    wire.on("error", () => wire.destroy());
    if (head.length > 0) this.#read(head);
  }

  send(text: string): void {
    this.#write(TEXT, Buffer.from(text));
  }

  /** Ends the connection as the protocol wants it. */
  close(): void {
    if (this.#wire.writable) this.#write(CLOSE, Buffer.from([0x03, 0xf5]));
    this.#wire.end();
  }

  /** Ends the connection in the middle, as a crash would; `half` is written of a frame before. */
  cut(half = ""): void {
    if (half !== "" && this.#wire.writable) {
      const whole = frame(TEXT, Buffer.from(half));
      this.#wire.write(whole.subarray(0, whole.length / 2), () => this.#wire.destroy());
    } else {
      this.#wire.destroy();
    }
  }

  #write(opcode: number, payload: Buffer): void {
    if (this.#wire.writable) this.#wire.write(frame(opcode, payload));
  }

  #read(bytes: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    for (;;) {
      const { length: have } = this.#bytes;
      if (have < 2) return;
      const opcode = (this.#bytes[0] ?? 0) & 0x0f;
      let length = (this.#bytes[1] ?? 0) & 0x7f;
      let at = 2;
      if (length === 126) {
        if (have < 4) return;
        length = this.#bytes.readUInt16BE(2);
        at = 4;
      }
      if (have < at + 4 + length) return;
      const mask = this.#bytes.subarray(at, at + 4);
      const payload = Buffer.from(this.#bytes.subarray(at + 4, at + 4 + length));
      payload.forEach((byte, index) => (payload[index] = byte ^ (mask[index % 4] ?? 0)));
      this.#bytes = this.#bytes.subarray(at + 4 + length);
      if (opcode === TEXT) this.onText(payload.toString());
      if (opcode === PING) this.#write(PONG, payload);
      if (opcode === CLOSE) this.close();
    }
  }
}

function frame(opcode: number, payload: Buffer): Buffer {
  const { length } = payload;
  if (length < 126) return Buffer.concat([Buffer.from([0x80 | opcode, length]), payload]);
  const head = Buffer.alloc(length < 65_536 ? 4 : 10);
  head[0] = 0x80 | opcode;
  head[1] = length < 65_536 ? 126 : 127;
  if (length < 65_536) head.writeUInt16BE(length, 2);
  else head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, payload]);
}
