import "../wire/lamp.css";
import "./style/page.css";
import "./style/card.css";
import "./style/cassette.css";
import "./style/types.css";
import "./style/pictures.css";
import "./style/statics.css";
import "./style/notice.css";
import "./style/tape.css";
import "./style/movement.css";
import { ServerClock } from "../wire/clock";
import { Link } from "../wire/link";
import { type Fields, textOf } from "../wire/record";
import { Renewal } from "../wire/renewal";
import { Signal } from "../wire/signal";
import { answerWrapper } from "../wire/wrapper";
import type { Alert } from "./alert";
import { Gallery } from "./gallery";
import { Identity, pageStorage } from "./identity";
import { Player } from "./player";
import { Presence } from "./presence";
import { Program } from "./program";
import { Screen } from "./screen";
import { readSettings, type Settings } from "./settings";
import { type Playing, readSnapshot } from "./snapshot";
import { Sounds } from "./sounds";
import { Voice } from "./voice";

const CLOCK_QUICK_MS = 200;
const CLOCK_QUICK_TIMES = 5;
const CLOCK_SLOW_MS = 30_000;
/** How long a first snapshot waits for the clock to be known. */
const CLOCK_MS_MAX = 1_000;

async function start(): Promise<void> {
  // OBS changes what follows the # without loading the page again.
  window.addEventListener("hashchange", () => window.location.reload());
  const settings = readSettings(window.location.hash);
  const { stage, layer, types, name } = settings;
  const source = [stage, layer, types.join("+") || "all", name].join(".");
  const shelf = pageStorage("localStorage");
  const locks = navigator.locks ?? null;
  const identity = await Identity.take(source, shelf, pageStorage("sessionStorage"), locks);
  const clock = new ServerClock();
  const program = new Program((alert) => isShown(alert, settings));
  const gallery = new Gallery(() => player.play());
  const [root, said] = [element("stage"), element("said")];
  const screen = new Screen(root, said, layer, gallery, clock, (painted) => {
    // Kept first, so that a page that dies before it has said so says it when it comes back.
    if (layer === "screen") return;
    identity.painted = painted;
    tellPainted();
  });
  const isHeard = layer !== "screen";
  const sounds = new Sounds(settings.sound && isHeard);
  const voice = new Voice(settings.speech && isHeard);
  const renewal = new Renewal(() => program.snapshot?.playing == null);
  const signal = new Signal(element("lamp"), settings.key !== "");
  const player = new Player({ clock, program, gallery, screen, sounds, voice }, (over) => {
    if (over) tellMissed(over);
    element("paused").hidden = !settings.preview || program.snapshot?.paused !== true;
    renewal.consider();
  });
  let clockTimer: ReturnType<typeof setTimeout> | undefined;

  const link = new Link({
    url: () => stageUrl(settings, identity.id),
    key: settings.key,
    onOpen: tellPainted,
    onUp: () => signal.up(),
    onDown: (failure) => {
      clearTimeout(clockTimer);
      signal.down(failure);
    },
    onFrame: hear,
  });

  function hear(frame: Fields): void {
    const now = performance.now();
    if (frame.type === "hello") {
      clock.forget();
      if (typeof frame.server_ms === "number") clock.greet(frame.server_ms, now);
      program.greet(textOf(frame.epoch));
      renewal.greet(textOf(frame.build));
      askTheTime(CLOCK_QUICK_TIMES);
    } else if (frame.type === "clock") {
      const { sent_ms, server_ms } = frame;
      if (typeof sent_ms === "number" && typeof server_ms === "number") {
        const isFirst = !clock.isKnown;
        clock.answer(sent_ms, server_ms, now);
        if (isFirst) player.play();
      }
    } else if (frame.type === "state") {
      const snapshot = readSnapshot(frame);
      if (!snapshot) return;
      program.take(snapshot);
      if (clock.isKnown) player.play();
      else setTimeout(() => player.play(), CLOCK_MS_MAX);
    }
  }

  function tellPainted(): void {
    const { painted } = identity;
    if (painted) link.send({ type: "painted", ...painted });
  }

  /** What was over before it came on the screen is to be shown again: only this page knows. */
  function tellMissed({ alert: { id: alert }, attempt }: Playing): void {
    const { painted } = identity;
    if (layer === "screen" || (painted?.alert === alert && painted.attempt === attempt)) return;
    link.send({ type: "missed", alert, attempt });
  }

  function askTheTime(times: number): void {
    clearTimeout(clockTimer);
    link.send({ type: "clock", sent_ms: Math.floor(performance.now()) });
    const pauseMs = times > 1 ? CLOCK_QUICK_MS : CLOCK_SLOW_MS;
    clockTimer = setTimeout(() => askTheTime(times - 1), pauseMs);
  }

  new Presence((isPainting) => {
    if (isPainting) {
      link.open();
      return;
    }
    clearTimeout(clockTimer);
    link.leave();
  }).watch();
  answerWrapper();
}

function isShown({ type }: Alert, { layer, types }: Settings): boolean {
  if (types.length > 0 && !types.includes(type)) return false;
  return layer !== "screen" || type === "ghost";
}

function stageUrl({ stage, layer, types }: Settings, id: string): string {
  const path = `/api/v1/stages/${encodeURIComponent(stage)}/ws`;
  const url = new URL(path, window.location.href);
  url.searchParams.set("layer", layer);
  if (types.length > 0) url.searchParams.set("types", types.join(","));
  url.searchParams.set("overlay", id);
  return url.href;
}

function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`overlay.html has no #${id}`);
  return found;
}

void start();
