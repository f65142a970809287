import { describe, expect, it } from "vitest";
import { ALERT_TYPES, type AlertType } from "../src/overlay/alert";
import { readSettings } from "../src/overlay/settings";
import { sayAlert, tagsOf, type Wording, wordAlert } from "../src/overlay/wording";

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
      said("static", { viewer, id: "test-card", message: "back soon" }),
      said("static", { viewer, id: "tracking-error", message: "" }),
      said("static", { viewer: null, id: "../x", message: "!wave" }),
      said("tape", { id: 88, title: "Harbour Lights", year: 1987, runtime_s: 5_520, tags: ["sea"] }),
      said("tape", { id: "x-1", title: "", year: null, runtime_s: 0 }),
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
      "Please stand by: ReelDeal has put up the test card. back soon",
      "Check the tracking: ReelDeal has upset the tracking.",
      "On the air: Anonymous has something to say. !wave",
      "Now playing: Harbour Lights 1987 · 92 min.",
      "Now playing: Untitled tape.",
    ]);
  });

  it("tells a viewer kindly why there is no picture, and what became of the points", () => {
    const told = (reason: unknown, more: Record<string, unknown> = {}) => {
      const data = { viewer, reason, style: "ghost", price: 200, words: "", ...more };
      const { tag, fact, words } = word("notice", data);
      expect(words).toBe("");
      return `${tag}: ${fact}`;
    };
    const reasons = ["declined", "rejected", "refused", "failed", "expired", "cancelled", "unclear"];
    expect([...reasons, "new"].map((reason) => told(reason))).toEqual([
      "Not quite enough yet: The ghost takes more points than there are.",
      "Not this one: The ghost will not be shown: your 200 points are back.",
      "Not this one: The painter will not draw that: your 200 points are back.",
      "The tape jammed: The ghost did not come out: your 200 points are back.",
      "Out of time: The ghost took too long: your 200 points are back.",
      "Called off: The ghost was called off: your 200 points are back.",
      "Say that again?: Nobody could make out what to draw: nothing was taken.",
      "No picture this time: Your 200 points are back.",
    ]);
    const words = "ghost takes 200 points, and there are 150";
    expect(told("too_few_points", { words })).toBe(
      "Not quite enough yet: Ghost takes 200 points, and there are 150.",
    );
    expect(told("unclear", { words: "what ghost was meant?", style: null, price: null })).toBe(
      "Say that again?: What ghost was meant?",
    );
    expect(told("expired", { style: null, price: 1 })).toBe(
      "Out of time: The picture took too long: your 1 point is back.",
    );
    expect(told("failed", { price: null })).toContain("did not come out: the points are back.");
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

describe("the tags of a tape", () => {
  it("are plain words, and few", () => {
    expect(tagsOf({ tags: ["sea", "", 7, null, "<b>", "a\nb"] })).toEqual(["sea", "<b>", "a b"]);
    expect(tagsOf({ tags: Array.from({ length: 50 }, () => "x") })).toHaveLength(6);
    expect(tagsOf({ tags: "sea" })).toEqual([]);
  });
});

describe("the settings in the address", () => {
  it("are read from the fragment, with defaults", () => {
    const whole = "#key=tdk_a%2Bb&stage=side&layer=screen&types=cheer,raid,nonsense&name=two";
    expect(readSettings(`${whole}&sound=off&speech=on&preview=on`)).toEqual({
      key: "tdk_a+b",
      stage: "side",
      layer: "screen",
      types: ["cheer", "raid"],
      name: "two",
      sound: false,
      speech: true,
      preview: true,
    });
    expect(readSettings("")).toEqual({
      key: "",
      stage: "main",
      layer: "all",
      types: [],
      name: "main",
      sound: true,
      speech: false,
      preview: false,
    });
    expect(readSettings("#layer=sideways").layer).toBe("all");
  });
});
