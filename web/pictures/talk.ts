import type { GivenLine } from "../test/chat_server";

const viewer = (name: string) => ({ id: name, name });

/** What is said in the picture of the chat. */
export const CHAT: GivenLine[] = [
  {
    id: "1",
    viewer: viewer("MothByTheTV"),
    badges: ["subscriber"],
    colour: "#57d9b4",
    parts: [{ text: "is that the director's cut or the rental one?" }],
  },
  {
    id: "2",
    viewer: viewer("WalkmanWanda"),
    badges: ["moderator"],
    colour: "#1b2fd0",
    parts: [
      { mention: "MothByTheTV" },
      { text: " the rental one, you can hear the clerk cough at 41 minutes " },
      { emote: "9", name: "tapeLaugh" },
    ],
  },
  {
    id: "3",
    viewer: viewer("Zoë_Rewinds"),
    parts: [{ text: "still have this one at home, in the wrong box" }],
  },
  {
    id: "4",
    viewer: viewer("PauseButtonPaul"),
    badges: ["vip"],
    colour: "#ff9d76",
    request: true,
    parts: [{ text: "!tape" }],
  },
  {
    id: "5",
    viewer: viewer("Tapedeck"),
    bot: true,
    parts: [
      { mention: "PauseButtonPaul" },
      { text: " now playing: No. 88, The Lighthouse Keeps Its Own Hours (1987)" },
    ],
  },
  {
    id: "6",
    viewer: viewer("SideBSally"),
    badges: ["subscriber"],
    colour: "#b18cff",
    parts: [{ emote: "7", name: "tapeRewind" }, { emote: "7", name: "tapeRewind" }],
  },
  {
    id: "7",
    viewer: viewer("ReelDeal"),
    badges: ["broadcaster"],
    colour: "#ffd35c",
    parts: [{ text: "nobody touch the tracking, it is perfect right now" }],
  },
];
