import { describe, expect, it } from "vitest";
import { ALERT_TYPES, type AlertType } from "../src/overlay/alert";
import { readSettings } from "../src/overlay/settings";
import { sayAlert, type Wording, wordAlert } from "../src/overlay/wording";

const viewer = { id: "5001", name: "ReelDeal" };

function word(type: AlertType, data: Record<string, unknown>): Wording {
  return wordAlert({ position: 1, id: "a", type, at: "", data });
}

describe("the wording of an alert", () => {
  it("says who did what", () => {
    const said = (type: AlertType, data: Record<string, unknown>) => sayAlert(word(type, data));
    expect([
      said("follow", { viewer }),
      said("cheer", { viewer, bits: 2500, message: "hi" }),
      said("cheer", { viewer: null, bits: 1, message: "" }),
      said("sub", { viewer, tier: "2000" }),
      said("resub", { viewer, tier: "1000", months: 24, streak: 9, message: "" }),
      said("resub", { viewer, tier: "1000", months: 1, streak: null, message: "" }),
      said("gift", { viewer: null, count: 1, tier: "3000" }),
      said("gift", { viewer, count: 10, tier: "1000" }),
      said("raid", { viewer, viewers: 1284 }),
      said("hype_train", { level: 2, total: 1150, goal: 1800, kind: "regular" }),
      said("hype_train", { level: 3, total: 4000, goal: 1800, kind: "golden_kappa" }),
      said("hype_train", { level: 1, total: 0, goal: null, kind: "treasure" }),
      said("ghost", { viewer, subject: "a lighthouse" }),
      said("friend", { viewer, subject: "a heron", name: "Waldo" }),
      said("friend", { viewer, subject: "a heron", name: null }),
    ]).toEqual([
      "New follower: ReelDeal is now following.",
      "Cheer: ReelDeal cheered 2,500 bits. hi",
      "Cheer: Anonymous cheered 1 bit.",
      "New sub: ReelDeal subscribed at Tier 2.",
      "Resub: ReelDeal Tier 1 for 24 months, 9 in a row.",
      "Resub: ReelDeal subscribed at Tier 1.",
      "Gift sub: Anonymous gifted a Tier 3 sub.",
      "Gift subs: ReelDeal gifted 10 Tier 1 subs.",
      "Raid: ReelDeal is raiding with 1,284 viewers.",
      "All aboard: Hype Train 1,150 of 1,800 to level 3.",
      "All aboard: Golden Kappa Train 4,000 points so far.",
      "All aboard: Treasure Train is on its way.",
      "From beyond the tape: ReelDeal has called the ghost of a lighthouse.",
      "A new friend: ReelDeal has brought Waldo, a heron.",
      "A new friend: ReelDeal has brought a heron.",
    ]);
  });

  it("names a viewer without a name, and never fails on missing or wrong data", () => {
    expect(word("follow", { viewer: { id: "1", name: null } }).title).toBe("A viewer");
    const nonsense = { viewer: 7, bits: "x", months: {}, count: -4, viewers: NaN, message: 1 };
    for (const type of ALERT_TYPES) {
      expect(() => word(type, {})).not.toThrow();
      expect(sayAlert(word(type, nonsense))).not.toMatch(/NaN|undefined|object|-4/);
    }
  });

  it("makes one line of a message, and cuts it between characters", () => {
    expect(word("cheer", { viewer, bits: 1, message: " a\r\n\tb\u0000c " }).words).toBe("a b c");
    const { words } = word("cheer", { viewer, bits: 1, message: "🎉".repeat(900) });
    expect(words).toBe(`${"🎉".repeat(600)}…`);
  });

  it("fills the meter by the size of a cheer", () => {
    const level = (bits: number) => word("cheer", { viewer, bits }).level;
    expect([level(1), level(100), level(10_000)].map((value) => value.toFixed(2))).toEqual([
      "0.10",
      "0.55",
      "1.00",
    ]);
  });
});

describe("the settings in the address", () => {
  it("are read from the fragment, with defaults", () => {
    expect(readSettings("#key=tdk_a%2Bb&name=side&speed=20")).toEqual({
      key: "tdk_a+b",
      name: "side",
      speed: 20,
    });
    expect(readSettings("")).toEqual({ key: "", name: "main", speed: 1 });
    expect(readSettings("#speed=0.1").speed).toBe(1);
    expect(readSettings("#speed=9999").speed).toBe(1_000);
    expect(readSettings("#speed=fast").speed).toBe(1);
  });
});
