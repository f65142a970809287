import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Connection, delayMs, type Failure, type Resume } from "../src/feed/connection";
import { FeedServer } from "./feed_server";

const viewer = { id: "5001", name: "ReelDeal" };
const follow = { type: "follow", data: { viewer } };

describe("the wait before the next attempt", () => {
  it("doubles from a quarter of a second to five seconds, half of it at random", () => {
    expect([0, 1, 2, 3, 4, 5, 50].map((failures) => delayMs(failures, 1))).toEqual([
      250, 500, 1_000, 2_000, 4_000, 5_000, 5_000,
    ]);
    expect(delayMs(50, 0)).toBe(2_500);
  });
});

describe("the connection to the feed", () => {
  let server: FeedServer;
  let connection: Connection | null = null;
  let received: number[];
  let failures: Failure[];
  let resume: Resume;
  let ups: number;

  beforeEach(async () => {
    server = new FeedServer();
    await server.listen();
    received = [];
    failures = [];
    ups = 0;
    resume = { epoch: null, after: null };
  });

  afterEach(async () => {
    connection?.pause();
    await server.close();
  });

  function connect(key = server.key): Connection {
    connection = new Connection({
      url: `http://127.0.0.1:${server.port}/api/v1/feed`,
      key,
      resume: () => resume,
      onUp: () => {
        ups += 1;
      },
      onDown: (failure) => failures.push(failure),
      onHello: ({ epoch, position }) => {
        resume = { epoch, after: resume.after ?? position };
      },
      onPing: () => undefined,
      onAlert: (envelope) => {
        resume = { epoch: envelope.epoch, after: envelope.position };
        received.push(envelope.position);
      },
    });
    connection.open();
    return connection;
  }

  it("sends the key, then the last position and the epoch when it comes back", async () => {
    connect();
    await expect.poll(() => server.clients).toBe(1);
    server.give(follow);
    await expect.poll(() => received).toEqual([1]);
    server.cut();
    server.give(follow);
    await expect.poll(() => received).toEqual([1, 2]);
    expect(server.requests).toEqual([
      { after: undefined, epoch: null },
      { after: "1", epoch: "epoch-1" },
    ]);
    expect(failures).toHaveLength(1);
  });

  it("comes back after every refusal, and names it", async () => {
    connect();
    await expect.poll(() => ups).toBe(1);
    for (const status of [401, 404, 502]) {
      server.status = status;
      server.cut();
      await expect.poll(() => failures.at(-1)?.status, { timeout: 4_000 }).toBe(status);
      const before = ups;
      server.status = null;
      await expect.poll(() => ups, { timeout: 8_000 }).toBe(before + 1);
    }
  }, 30_000);

  it("comes back after the server was not there at all", async () => {
    connect();
    await expect.poll(() => ups).toBe(1);
    const { port } = server;
    await server.close();
    await expect.poll(() => failures.at(-1)?.words).toBe("no connection to the server");
    await server.listen(port);
    await expect.poll(() => ups, { timeout: 8_000 }).toBe(2);
  }, 15_000);

  it("leaves a feed that has fallen silent for three pings", async () => {
    server.pingMs = 60;
    server.silent = true;
    connect();
    await expect.poll(() => failures[0]?.words).toBe("the feed fell silent");
    server.silent = false;
    await expect.poll(() => server.clients, { timeout: 4_000 }).toBe(1);
    server.give(follow);
    await expect.poll(() => received).toEqual([1]);
  });

  it("leaves at a bye, and comes back", async () => {
    connect();
    await expect.poll(() => server.clients).toBe(1);
    server.bye();
    await expect.poll(() => failures[0]?.words).toBe("the server said bye");
    await expect.poll(() => ups).toBe(2);
  });

  it("reads no more while it is paused, and goes on where it stopped", async () => {
    const paused = connect();
    await expect.poll(() => server.clients).toBe(1);
    server.give(follow);
    await expect.poll(() => received).toEqual([1]);
    paused.pause();
    await expect.poll(() => server.clients).toBe(0);
    server.give(follow);
    paused.open();
    await expect.poll(() => received).toEqual([1, 2]);
    expect(failures).toEqual([]);
  });

  it("names a wrong key", async () => {
    connect("tdk_wrong");
    await expect.poll(() => failures[0]).toEqual({
      status: 401,
      words: "the server answered 401",
    });
  });
});
