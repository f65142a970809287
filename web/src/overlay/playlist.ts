import type { Resume } from "../feed/connection";
import type { Envelope, Hello } from "../feed/envelope";
import { type Alert, DURATIONS_MS, GAP_MS, readAlert } from "./alert";
import { type Bookmark, type BookmarkStore, type Showing, SHOWN_MAX } from "./bookmark";

/** What the screen should show now, and when to ask again: null when only the feed can tell. */
export interface Cue {
  showing: Showing | null;
  /** How long the alert on the screen stays in all. */
  durationMs: number;
  wakeAt: number | null;
}

/** Tells whether an alert can be shown, and prepares what it needs. */
export interface Preparation {
  isReady(alert: Alert): boolean;
}

const NOTHING_TO_PREPARE: Preparation = { isReady: () => true };

/** At this length the page stops reading the feed; nothing is lost, since it can resume. */
export const QUEUE_MAX = 500;
/** At this length it reads again. */
export const QUEUE_LOW = 100;

/**
 * Decides which alert is on the screen: one at a time, in order of position, each exactly once,
 * over any number of disconnections, reloads and crashes. It holds no timer and reads no clock.
 *
 * The bookmark is saved before an alert is shown and again when it is over. What waits in the queue
 * needs no saving: after a reload the server sends it again from the bookmark's position.
 */
export class Playlist {
  readonly #store: BookmarkStore;
  readonly #speed: number;
  readonly #preparation: Preparation;
  readonly #bookmark: Bookmark;
  readonly #shown: Set<string>;
  #queue: Alert[] = [];
  /** The last position received in the present epoch: what is not above it has been here before. */
  #received: number | null;
  #restUntil = 0;

  constructor(
    store: BookmarkStore,
    bookmark: Bookmark,
    speed = 1,
    preparation = NOTHING_TO_PREPARE,
  ) {
    this.#store = store;
    this.#speed = speed;
    this.#preparation = preparation;
    this.#bookmark = bookmark;
    this.#shown = new Set(bookmark.shown);
    this.#received = bookmark.showing?.alert.position ?? bookmark.after;
  }

  get resume(): Resume {
    return { epoch: this.#bookmark.epoch, after: this.#received };
  }

  get length(): number {
    return this.#queue.length;
  }

  get full(): boolean {
    return this.#queue.length >= QUEUE_MAX;
  }

  /** True while nothing is on the screen and nothing waits. */
  get idle(): boolean {
    return this.#bookmark.showing === null && this.#queue.length === 0;
  }

  /**
   * Takes the greeting of a connection. True means that the server's positions are new ones (it was
   * restored or rebuilt, or ends before the place that was asked for): the place in the feed has
   * been moved and must be asked for again. The ids keep out what was shown before.
   */
  hello(envelope: Envelope, hello: Hello): boolean {
    const { epoch, position } = envelope;
    if (this.#received === null) {
      this.#bookmark.epoch = epoch;
      this.#moveTo(hello.after ?? position);
      return false;
    }
    const isFirst = this.#bookmark.epoch === null;
    const isCutBack = !hello.resumed && position < this.#received;
    const isNew = isCutBack || (!isFirst && this.#bookmark.epoch !== epoch);
    this.#bookmark.epoch = epoch;
    if (!isNew) {
      if (isFirst) this.#save();
      return false;
    }
    this.#queue = [];
    const place = Math.min(position, hello.after ?? position);
    this.#moveTo(Math.min(this.#bookmark.after ?? place, place));
    if (this.#bookmark.showing) this.#bookmark.showing.alert.position = this.#bookmark.after ?? 0;
    this.#save();
    return true;
  }

  /** Takes a ping: once everything before it has been shown, the place in the feed moves to it. */
  ping(envelope: Envelope): void {
    if (envelope.epoch !== this.#bookmark.epoch || !this.idle) return;
    if (this.#received === null || envelope.position <= this.#received) return;
    this.#moveTo(envelope.position);
  }

  /** Queues an alert, unless it has been here before. */
  add(envelope: Envelope): void {
    if (this.full) return;
    if (this.#received !== null && envelope.position <= this.#received) return;
    this.#received = envelope.position;
    const alert = readAlert(envelope);
    if (alert && !this.#isKnown(alert.id)) this.#queue.push(alert);
  }

  /** Moves on to the given moment. */
  advance(now: number): Cue {
    this.#endWhatIsOver(now);
    this.#restUntil = Math.min(this.#restUntil, now + GAP_MS / this.#speed);
    // Asked for while the one before it is on the screen, so that it is ready when its time comes.
    const next = this.#queue[0];
    const isReady = next !== undefined && this.#preparation.isReady(next);
    if (!this.#bookmark.showing && isReady && now >= this.#restUntil) this.#startNext(now);
    const { showing } = this.#bookmark;
    if (showing) {
      const durationMs = this.#durationMs(showing.alert);
      return { showing, durationMs, wakeAt: showing.startedAt + durationMs };
    }
    // What is not ready yet says itself when it is.
    return { showing: null, durationMs: 0, wakeAt: now < this.#restUntil ? this.#restUntil : null };
  }

  #endWhatIsOver(now: number): void {
    const { showing } = this.#bookmark;
    if (!showing) return;
    // A clock that was set back must not hold an alert on the screen for hours.
    if (now < showing.startedAt) showing.startedAt = now;
    const overAt = showing.startedAt + this.#durationMs(showing.alert);
    if (now < overAt) return;
    this.#restUntil = overAt + GAP_MS / this.#speed;
    this.#bookmark.showing = null;
    this.#remember(showing.alert.id);
    this.#bookmark.after = Math.max(this.#bookmark.after ?? 0, showing.alert.position);
    this.#save();
  }

  #startNext(now: number): void {
    const alert = this.#queue.shift();
    if (!alert) return;
    this.#bookmark.showing = { alert, startedAt: now };
    this.#save();
  }

  #durationMs(alert: Alert): number {
    return DURATIONS_MS[alert.type] / this.#speed;
  }

  #isKnown(id: string | null): boolean {
    if (id === null) return false;
    if (this.#shown.has(id) || this.#bookmark.showing?.alert.id === id) return true;
    return this.#queue.some((alert) => alert.id === id);
  }

  #remember(id: string | null): void {
    if (id === null) return;
    this.#shown.add(id);
    this.#bookmark.shown.push(id);
    for (const old of this.#bookmark.shown.splice(0, this.#bookmark.shown.length - SHOWN_MAX)) {
      this.#shown.delete(old);
    }
  }

  #moveTo(position: number): void {
    this.#received = position;
    this.#bookmark.after = position;
    this.#save();
  }

  #save(): void {
    this.#store.save(this.#bookmark);
  }
}
