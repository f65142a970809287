import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { delayMs, type Failure, Link } from "../src/wire/link";
import { StageServer } from "./stage_server";

describe("the wait before the next attempt", () => {
  it("doubles from a quarter of a second to five seconds, half of it at random", () => {
    expect([0, 1, 2, 3, 4, 5, 50].map((failures) => delayMs(failures, 1))).toEqual([
      250, 500, 1_000, 2_000, 4_000, 5_000, 5_000,
    ]);
    expect(delayMs(50, 0)).toBe(2_500);
  });
});

describe("the connection to the server", () => {
  let server: StageServer;
  let link: Link | null = null;
  let heard: string[];
  let failures: Failure[];
  let ups: number;

  beforeEach(async () => {
    server = new StageServer();
    await server.listen();
    heard = [];
    failures = [];
    ups = 0;
  });

  afterEach(async () => {
    link?.leave();
    await server.close();
  });

  function connect(key = server.key, path = "/api/v1/stages/main/ws"): Link {
    const url = `http://127.0.0.1:${server.port}${path}?overlay=x`;
    link = new Link({
      url: () => url,
      key,
      onOpen: () => link?.send({ type: "clock", sent_ms: 1 }),
      onUp: () => {
        ups += 1;
      },
      onDown: (failure) => failures.push(failure),
      onFrame: ({ type }) => heard.push(String(type)),
    });
    link.open();
    return link;
  }

  it("speaks first, hears the greeting, and comes back when it is cut", async () => {
    connect();
    await expect.poll(() => heard).toEqual(["hello", "state", "clock"]);
    server.cut();
    await expect.poll(() => ups).toBe(2);
    expect(failures).toEqual([{ status: null, words: "the connection was cut" }]);
    expect(server.requests).toHaveLength(2);
  });

  it("comes back after every refusal, and names it", async () => {
    connect();
    await expect.poll(() => ups).toBe(1);
    for (const status of [401, 404, 502]) {
      server.status = status;
      server.cut();
      await expect.poll(() => failures.at(-1)?.status).toBe(status);
      const before = ups;
      server.status = null;
      await expect.poll(() => ups).toBe(before + 1);
    }
  });

  it("comes back after the server was not there at all", async () => {
    connect();
    await expect.poll(() => ups).toBe(1);
    const { port } = server;
    await server.close();
    await expect.poll(() => failures.at(-1)?.words).toBe("no connection to the server");
    await server.listen(port);
    await expect.poll(() => ups).toBe(2);
  });

  it("leaves a server that has fallen silent for three pings", async () => {
    server.pingMs = 60;
    connect();
    await expect.poll(() => failures[0]?.words).toBe("the server fell silent");
    await expect.poll(() => ups).toBe(2);
    const pings = setInterval(() => server.broadcast({ type: "ping" }), 20);
    await expect.poll(() => server.clients).toBe(1);
    clearInterval(pings);
    expect(heard).not.toContain("ping");
  });

  it("leaves at a bye, says why the key is of no use any more, and comes back", async () => {
    connect();
    await expect.poll(() => server.clients).toBe(1);
    server.broadcast({ type: "bye", reason: "slow" });
    await expect.poll(() => failures[0]?.words).toBe("the server said bye: slow");
    await expect.poll(() => ups).toBe(2);
    server.broadcast({ type: "bye", reason: "revoked" });
    await expect.poll(() => failures[1]?.status).toBe(401);
    await expect.poll(() => ups).toBe(3);
  });

  it("outlives what is no frame", async () => {
    connect();
    await expect.poll(() => server.clients).toBe(1);
    for (const nonsense of [[], "text", 7, null, { type: 7 }, { no: "type" }]) {
      server.broadcast(nonsense as object);
    }
    server.tell();
    await expect.poll(() => heard.filter((type) => type === "state").length).toBe(2);
    expect(failures).toEqual([]);
  });

  it("says nothing and hears nothing while it has left, and comes when it is asked", async () => {
    const left = connect();
    await expect.poll(() => ups).toBe(1);
    left.leave();
    await expect.poll(() => server.clients).toBe(0);
    expect(left.send({ type: "clock", sent_ms: 1 })).toBe(false);
    left.open();
    await expect.poll(() => ups).toBe(2);
    expect(failures).toEqual([]);
  });

  it("names a wrong key, one that cannot be written at all, and a wrong address", async () => {
    connect("tdk_wrong");
    await expect.poll(() => failures[0]?.status).toBe(401);
    link?.leave();
    connect("no key at all");
    await expect.poll(() => failures[1]?.status).toBe(401);
    link?.leave();
    connect(server.key, "/api/v1/nothing");
    await expect.poll(() => failures[2]?.status).toBe(404);
  });
});
