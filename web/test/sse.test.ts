import { describe, expect, it } from "vitest";
import { FRAME_CHARACTERS_MAX, type Frame, FrameReader } from "../src/feed/sse";

const encoder = new TextEncoder();

function readIn(pieces: Uint8Array[]): Frame[] {
  const reader = new FrameReader();
  return pieces.flatMap((piece) => reader.read(piece));
}

function read(text: string): Frame[] {
  return readIn([encoder.encode(text)]);
}

function cut(bytes: Uint8Array, size: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
  return pieces;
}

describe("the reader of server-sent frames", () => {
  it("reads a frame with an id", () => {
    expect(read('id: 7\ndata: {"a":1}\n\n')).toEqual([{ id: "7", data: '{"a":1}' }]);
  });

  it("joins the lines of one frame and takes away one space only", () => {
    expect(read("data:one\ndata:  two\ndata\n\n")).toEqual([{ id: "", data: "one\n two\n" }]);
  });

  it("leaves out comments, unknown fields and frames without data", () => {
    expect(read(": hello\n\nevent: x\nretry: 10\n\nid: 3\n\ndata: y\n\n")).toEqual([
      { id: "3", data: "y" },
    ]);
  });

  it("ends lines at LF, CRLF and CR alike", () => {
    const expected = [
      { id: "1", data: "a" },
      { id: "1", data: "b" },
    ];
    for (const end of ["\n", "\r\n", "\r"]) {
      expect(read(["id: 1", "data: a", "", "data: b", "", ""].join(end))).toEqual(expected);
    }
  });

  it("gives the same frames however the bytes are cut", () => {
    const text = "\uFEFFid: 1\r\ndata: é漢🎉\r\ndata: two\r\n\r\n: ping\r\n\r\ndata: \u2028 x\n\n";
    const bytes = encoder.encode(text);
    const whole = readIn([bytes]);
    expect(whole).toEqual([
      { id: "1", data: "é漢🎉\ntwo" },
      { id: "1", data: "\u2028 x" },
    ]);
    for (let size = 1; size < bytes.length; size += 1) {
      expect(readIn(cut(bytes, size))).toEqual(whole);
    }
  });

  it("does not deliver a frame that was cut off", () => {
    expect(read("data: whole\n\ndata: half\n")).toEqual([{ id: "", data: "whole" }]);
  });

  it("drops a frame that is too long, and only that one", () => {
    const long = "x".repeat(FRAME_CHARACTERS_MAX);
    const text = `data: a\n\ndata: ${long}\nid: 9\ndata: tail\n\ndata: b\n\n`;
    expect(readIn(cut(encoder.encode(text), 10_007)).map(({ data }) => data)).toEqual(["a", "b"]);
  });
});
