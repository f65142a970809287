import "./style/page.css";
import "./style/card.css";
import "./style/cassette.css";
import "./style/types.css";
import "./style/pictures.css";
import "./style/movement.css";
import { Connection } from "../feed/connection";
import { BookmarkStore, pageStorage } from "./bookmark";
import { Gallery } from "./gallery";
import { Player } from "./player";
import { Playlist, QUEUE_LOW } from "./playlist";
import { readSettings } from "./settings";
import { Signal } from "./signal";
import { Stage } from "./stage";
import { DiskVault } from "./vault";

/** A page is not reloaded for a new build before it is this old, whatever two servers may say. */
const RELOAD_AGE_MS = 30_000;

async function start(): Promise<void> {
  // OBS changes what follows the # without loading the page again.
  window.addEventListener("hashchange", () => window.location.reload());
  const settings = readSettings(window.location.hash);
  const store = new BookmarkStore(pageStorage(), new DiskVault(), settings.name);
  const gallery = new Gallery(() => player.play());
  const playlist = new Playlist(store, await store.load(), settings.speed, gallery);
  const stage = new Stage(element("stage"), element("said"), settings.speed, gallery);
  const signal = new Signal(element("lamp"), settings.key !== "");
  const player = new Player(playlist, stage, afterMove);
  const bornAt = Date.now();
  let build: string | null = null;
  let reloadWanted = false;

  const connection = new Connection({
    url: new URL("/api/v1/feed", window.location.href).href,
    key: settings.key,
    resume: () => playlist.resume,
    onUp: () => signal.up(),
    onDown: (failure) => signal.down(failure),
    onHello: (envelope, hello) => {
      build ??= hello.build;
      reloadWanted ||= hello.build !== build;
      if (playlist.hello(envelope, hello)) connection.reopen();
      player.play();
    },
    onPing: (envelope) => {
      playlist.ping(envelope);
      player.play();
    },
    onAlert: (envelope) => {
      playlist.add(envelope);
      if (playlist.full) connection.pause();
      player.play();
    },
  });

  function afterMove(): void {
    if (connection.paused && playlist.length <= QUEUE_LOW) connection.open();
    const isOldEnough = Date.now() - bornAt >= RELOAD_AGE_MS / settings.speed;
    if (reloadWanted && playlist.idle && isOldEnough) window.location.reload();
  }

  connection.open();
  player.play();
}

function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`overlay.html has no #${id}`);
  return found;
}

void start();
