import "../wire/lamp.css";
import "./chat.css";
import { Link } from "../wire/link";
import { type Fields, isRecord, textOf } from "../wire/record";
import { Renewal } from "../wire/renewal";
import { Signal } from "../wire/signal";
import { answerWrapper } from "../wire/wrapper";
import { readLine } from "./line";
import { Lines } from "./lines";

function start(): void {
  // OBS changes what follows the # without loading the page again.
  window.addEventListener("hashchange", () => window.location.reload());
  const fields = new URLSearchParams(window.location.hash.replace(/^#/, ""));
  const key = fields.get("key")?.trim() ?? "";
  const lines = new Lines(element("lines"));
  const signal = new Signal(element("lamp"), key !== "");
  const renewal = new Renewal(() => true);

  const link = new Link({
    url: () => new URL("/api/v1/chat/ws", window.location.href).href,
    key,
    onOpen: () => undefined,
    onUp: () => signal.up(),
    onDown: (failure) => signal.down(failure),
    onFrame: hear,
  });

  function hear(frame: Fields): void {
    switch (frame.type) {
      case "hello":
        // What was deleted while nobody listened must not stay.
        lines.restart();
        renewal.greet(textOf(frame.build));
        break;
      case "line": {
        const line = readLine(frame);
        if (line) lines.add(line);
        break;
      }
      case "deleted":
        lines.delete(textOf(frame.id));
        break;
      case "cleared_viewer":
        lines.deleteViewer(viewerOf(frame.viewer));
        break;
      case "cleared":
        lines.clear();
        break;
    }
  }

  link.open();
  answerWrapper();
}

/** A viewer is named by the id alone, or as the lines name one. */
function viewerOf(viewer: unknown): string {
  return isRecord(viewer) ? textOf(viewer.id) : textOf(viewer);
}

function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`chat.html has no #${id}`);
  return found;
}

start();
