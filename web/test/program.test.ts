import { describe, expect, it } from "vitest";
import { Program } from "../src/overlay/program";
import { readSnapshot, type Snapshot } from "../src/overlay/snapshot";
import { ServerClock } from "../src/wire/clock";

const alert = { id: "a", position: 1, type: "cheer", at: "", data: {} };
const playing = { alert, attempt: 1, starts_ms: 1_000, ends_ms: 7_000 };

function read(fields: Record<string, unknown>): Snapshot {
  const snapshot = readSnapshot({ revision: 1, playing: null, next: null, ...fields });
  if (!snapshot) throw new Error("it should be a snapshot");
  return snapshot;
}

describe("the program", () => {
  it("shows what plays from its start to its end, and has it drawn before", () => {
    const program = new Program(() => true);
    program.take(read({ playing }));
    const at = (ms: number) => {
      const { playing, hasStarted, wakeAtMs } = program.at(ms);
      return [playing?.alert.id ?? null, hasStarted, wakeAtMs];
    };
    expect(at(700)).toEqual(["a", false, 1_000]);
    expect(at(1_000)).toEqual(["a", true, 7_000]);
    expect(at(6_999)).toEqual(["a", true, 7_000]);
    expect(at(7_000)).toEqual([null, false, null]);
  });

  it("says what is over, if it was for this overlay", () => {
    const program = new Program(({ type }) => type === "cheer");
    program.take(read({ playing }));
    expect(program.over(6_999)).toBeNull();
    expect(program.over(7_000)?.alert.id).toBe("a");
    program.take(read({ revision: 2, playing: { ...playing, alert: { ...alert, type: "raid" } } }));
    expect(program.over(7_000)).toBeNull();
  });

  it("goes forward only, and starts anew with another epoch", () => {
    const program = new Program(() => true);
    program.greet("one");
    program.take(read({ revision: 5, playing }));
    program.take(read({ revision: 5 }));
    program.take(read({ revision: 4 }));
    expect(program.at(2_000).playing).not.toBeNull();
    program.greet("one");
    program.take(read({ revision: 4 }));
    expect(program.at(2_000).playing).not.toBeNull();
    program.greet("two");
    program.take(read({ revision: 2 }));
    expect(program.at(2_000).playing).toBeNull();
  });

  it("leaves out what is not for this overlay", () => {
    const program = new Program(({ type }) => type === "raid");
    program.take(read({ playing, next: alert }));
    expect(program.at(2_000).playing).toBeNull();
    expect(program.next).toBeNull();
  });
});

describe("a snapshot", () => {
  it("is read, whatever is missing in it or wrong", () => {
    expect(readSnapshot({})).toBeNull();
    expect(readSnapshot({ revision: "1" })).toBeNull();
    expect(read({ muted: 7, waiting: -1.5, paused: "yes" })).toEqual({
      revision: 1,
      paused: false,
      muted: { sound: false, speech: false },
      waiting: 0,
      playing: null,
      next: null,
    });
    const wrong = [
      { starts_ms: 7_000 },
      { ends_ms: 1_000_000_000 },
      { ends_ms: "7000" },
      { attempt: null },
      { alert: { ...alert, type: "unheard_of" } },
      { alert: { ...alert, id: 7 } },
      { alert: [] },
    ];
    for (const change of wrong) {
      expect(read({ playing: { ...playing, ...change } }).playing).toBeNull();
    }
  });
});

describe("the server's clock", () => {
  it("knows nothing, then guesses by the greeting, then believes the quickest answer", () => {
    const clock = new ServerClock();
    expect(clock.at(10)).toBeNull();
    clock.greet(5_000, 100);
    expect(clock.at(100)).toBe(5_000);
    expect(clock.isKnown).toBe(false);
    // The way there took 40 ms and the way back 60: wrong by 10.
    clock.answer(200, 5_040, 300);
    expect(clock.at(300)).toBe(5_090);
    clock.answer(400, 5_202, 404);
    expect(clock.at(404)).toBe(5_204);
    clock.answer(500, 9_999, 600);
    expect(clock.at(600)).toBe(5_400);
    expect(clock.isKnown).toBe(true);
  });

  it("follows a clock that drifts, and forgets when it is told to", () => {
    const clock = new ServerClock();
    for (let minute = 0; minute < 20; minute += 1) {
      clock.answer(minute * 60_000, minute * 60_030, minute * 60_000 + 2);
    }
    expect(clock.at(19 * 60_000)).toBeCloseTo(19 * 60_030 - 1, 0);
    clock.forget();
    clock.greet(77, 7);
    expect(clock.at(8)).toBe(78);
  });
});
