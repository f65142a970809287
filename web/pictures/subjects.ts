import type { Given } from "../test/stage_server";

const viewer = (name: string) => ({ id: "5001", name });

export const GHOST = "0".repeat(64);
export const FRIEND = "1".repeat(64);
export const THUMBNAIL = "2".repeat(64);

/** What is shown in the pictures. */
export const PICTURES: Record<string, Given> = {
  follow: { type: "follow", data: { viewer: viewer("ReelDeal") } },
  cheer: {
    type: "cheer",
    data: {
      viewer: viewer("MagnetoMary"),
      bits: 2500,
      message: "Cheer2500 that ending was worth the rewind!",
    },
  },
  sub: { type: "sub", data: { viewer: viewer("SideBSally"), tier: "2000" } },
  resub: {
    type: "resub",
    data: {
      viewer: viewer("hiss_and_flutter"),
      tier: "1000",
      months: 24,
      streak: 9,
      message: "Two years of tapes and not one of them was boring.",
    },
  },
  gift: { type: "gift", data: { viewer: viewer("DolbyDan"), count: 10, tier: "1000" } },
  raid: { type: "raid", data: { viewer: viewer("WalkmanWanda"), viewers: 1284 } },
  hype_train: {
    type: "hype_train",
    data: { level: 2, total: 1150, goal: 1800, kind: "regular" },
  },
  ghost: {
    type: "ghost",
    data: {
      viewer: viewer("MothByTheTV"),
      subject: "a lighthouse",
      picture: GHOST,
      background: "#10101e",
    },
  },
  friend: {
    type: "friend",
    data: {
      viewer: viewer("BetaMaxine"),
      subject: "a heron",
      colour: "sky-blue",
      name: "Captain Waldo",
      picture: FRIEND,
      background: "#fb8b24",
    },
  },
  static: {
    type: "static",
    data: { viewer: viewer("SnowyChannel3"), id: "test-card", message: "back in five, promise!" },
  },
  tracking: {
    type: "static",
    data: { viewer: viewer("HeadCleanerHal"), id: "tracking-error", message: "have you tried blowing on it?" },
  },
  notice: {
    type: "notice",
    data: {
      viewer: viewer("PauseButtonPaul"),
      reason: "failed",
      style: "ghost",
      price: 200,
      words: "the ghost did not work out: the 200 points are back",
    },
  },
  tape: {
    type: "tape",
    data: {
      id: 88,
      title: "The Lighthouse Keeps Its Own Hours",
      year: 1987,
      runtime_s: 5520,
      tags: ["documentary", "sea", "weather", "late night"],
      colour: "#ff9d76",
      thumbnail: THUMBNAIL,
    },
  },
};


/** Other looks, kept out of the README: the edges of names, texts, sizes and kinds. */
export const EDGES: Record<string, { given: Given; width: number; height: number }> = {
  long: {
    given: {
      type: "cheer",
      data: {
        viewer: viewer("TheVeryLongestNameOnTwitch_"),
        bits: 100000,
        message: "春の夜の夢ばかりなる手枕にかひなく立たむ名こそ惜しけれ。".repeat(9),
      },
    },
    width: 800,
    height: 600,
  },
  rtl: {
    given: {
      type: "resub",
      data: {
        viewer: viewer("كاسيت_عربي"),
        tier: "3000",
        months: 101,
        streak: null,
        message: "شكراً على كل هذه الأشرطة الجميلة، نراكم الأسبوع القادم! 100%",
      },
    },
    width: 1280,
    height: 720,
  },
  cjk: {
    given: { type: "follow", data: { viewer: viewer("カセットテープ愛好会の会長です") } },
    width: 800,
    height: 600,
  },
  emoji: {
    given: {
      type: "cheer",
      data: { viewer: null, bits: 1, message: "<b>not bold</b> & 🎉🎉🎉 ".repeat(3) },
    },
    width: 1920,
    height: 1080,
  },
  treasure: {
    given: { type: "hype_train", data: { level: 1, total: 500, goal: null, kind: "treasure" } },
    width: 960,
    height: 540,
  },
  golden: {
    given: { type: "hype_train", data: { level: 5, total: 900, goal: 1000, kind: "golden_kappa" } },
    width: 960,
    height: 540,
  },
  biggest: {
    given: { type: "gift", data: { viewer: viewer("W".repeat(25)), count: 1000, tier: "3000" } },
    width: 800,
    height: 600,
  },
  neutral: {
    given: { type: "static", data: { viewer: viewer("OldTimer"), id: "other", message: "!wave hello" } },
    width: 960,
    height: 540,
  },
  declined: {
    given: {
      type: "notice",
      data: {
        viewer: viewer("TheVeryLongestNameOnTwitch_"),
        reason: "too_few_points",
        style: "friend",
        price: 200,
        available: 150,
        words: "friend takes 200 points, and there are 150",
      },
    },
    width: 800,
    height: 600,
  },
  unclear: {
    given: { type: "notice", data: { viewer: viewer("Bo"), reason: "unclear", words: "what ghost was meant?" } },
    width: 640,
    height: 360,
  },
  tape_plain: {
    given: {
      type: "tape",
      data: { id: 7, title: "Untitled", year: null, runtime_s: 0, tags: [], thumbnail: null },
    },
    width: 800,
    height: 600,
  },
  tape_long: {
    given: {
      type: "tape",
      data: {
        id: 1234,
        title: "How to Repair Almost Everything in Your Home, Volume Eleven: The Plumbing",
        year: 1991,
        runtime_s: 12_000,
        tags: ["instructional", "home improvement", "plumbing", "series", "water", "tools"],
        colour: "#4fb3ff",
        thumbnail: null,
      },
    },
    width: 640,
    height: 360,
  },
  huge: {
    given: { type: "raid", data: { viewer: viewer("i".repeat(25)), viewers: 1234567 } },
    width: 640,
    height: 360,
  },
};
