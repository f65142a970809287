import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHmac, randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const PROGRAM = process.env.TAPEDECK ?? "../target/release/tapedeck";
const START_MS_MAX = 60_000;

/** Where `make` puts the tools, which the binary finds from here. */
const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** The binary that is tested; null, said in one clear line, where it has not been built. */
export function findTapedeck(): string | null {
  const path = fileURLToPath(new URL(PROGRAM, new URL("../", import.meta.url)));
  if (existsSync(path)) return path;
  console.warn(`SKIPPED: the pages with the real server, because there is no ${PROGRAM}`);
  return null;
}

/** An alert of the stage, as the API lists it. */
export interface Listed {
  alert: { id: string; position: number };
  state: string;
  attempts: number;
  starts_at: string | null;
}

/** A stage, as the API shows it. */
export interface Stage {
  paused: boolean;
  overlays: { overlay: string; since: string }[];
  playing: { alert: { id: string }; starts_ms: number; ends_ms: number } | null;
  server_ms: number;
}

/** `tapedeck up` on servers and in a folder of its own, and a Twitch that sends it signed cheers. */
export class RealServer {
  readonly #folder = mkdtempSync(join(tmpdir(), "tapedeck-real-"));
  readonly #program: string;
  readonly #secret = "a secret of this test only";
  #process: ChildProcess | undefined;
  #said = "";
  #base = "";
  #overlayKey = "";
  #key = "";

  constructor(program: string) {
    this.#program = program;
  }

  /** Starts it with `settings`, which are lines of TOML, and waits until it is up. */
  async start(settings: string): Promise<void> {
    const file = join(this.#folder, "tapedeck.toml");
    writeFileSync(file, `eventsub_secret = "${this.#secret}"\n${settings}`);
    const addresses = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    const up = spawn(this.#program, ["up", ...addresses, ...this.#where], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = up;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not up: ${this.#said}`)), START_MS_MAX);
      const hear = (text: Buffer) => {
        this.#said += text;
        const overlay = /(http:\/\/\S+)\/overlay#key=(\S+)/.exec(this.#said);
        if (!overlay) return;
        clearTimeout(timer);
        [, this.#base = "", this.#overlayKey = ""] = overlay;
        resolve();
      };
      up.stdout.on("data", hear);
      up.stderr.on("data", hear);
      up.on("exit", () => reject(new Error(`ended at once: ${this.#said}`)));
    });
    const scopes = ["--scope", "alerts:read", "--scope", "stage:direct"];
    const issue = ["key", "issue", "--json", "--name", "test", ...scopes];
    const issued = execFileSync(this.#program, [...issue, ...this.#where], { cwd: ROOT });
    this.#key = (JSON.parse(String(issued)) as { key: string }).key;
  }

  /** Ends it in good order, and removes what it had. */
  async stop(): Promise<void> {
    const up = this.#process;
    if (up && up.exitCode === null) {
      const ended = new Promise((resolve) => up.on("exit", resolve));
      up.kill("SIGINT");
      await ended;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** A page of the same origin that is no overlay. */
  get home(): string {
    return `${this.#base}/healthz`;
  }

  /** The address of the overlay, with more behind its key. */
  page(fragment = ""): string {
    return `${this.#base}/overlay#key=${this.#overlayKey}${fragment}`;
  }

  /** Sends the signed notification of a cheer, as Twitch would; it is on disk when this returns. */
  async cheer(bits: number): Promise<void> {
    const broadcaster = {
      broadcaster_user_id: "1000",
      broadcaster_user_login: "tapedeck",
      broadcaster_user_name: "Tapedeck",
    };
    const user = { user_id: "2001", user_login: "some_viewer", user_name: "some_viewer" };
    const subscription = {
      id: "f1c2a387-161a-49f9-a165-0f21d7a4e1c4",
      type: "channel.cheer",
      version: "1",
      status: "enabled",
      cost: 0,
      condition: { broadcaster_user_id: "1000" },
      transport: { method: "webhook", callback: `${this.#base}/webhooks/twitch` },
      created_at: "2026-11-21T00:00:00Z",
    };
    const event = { is_anonymous: false, ...user, ...broadcaster, message: `Cheer${bits}`, bits };
    const body = JSON.stringify({ subscription, event });
    const [id, at] = [randomUUID(), new Date().toISOString()];
    const signature = createHmac("sha256", this.#secret).update(id + at + body).digest("hex");
    const headers = {
      "content-type": "application/json",
      "twitch-eventsub-message-id": id,
      "twitch-eventsub-message-timestamp": at,
      "twitch-eventsub-message-signature": `sha256=${signature}`,
      "twitch-eventsub-message-type": "notification",
      "twitch-eventsub-subscription-type": "channel.cheer",
      "twitch-eventsub-subscription-version": "1",
    };
    const send = () => fetch(`${this.#base}/webhooks/twitch`, { method: "POST", body, headers });
    let answer = await send();
    // Twitch sends again what could not be stored.
    while (answer.status === 503) answer = await send();
    if (!answer.ok) throw new Error(`a cheer was answered ${answer.status}`);
  }

  /** Puts a test of an alert on the stage; one that is pictured has a picture of its own. */
  async test(type: string): Promise<void> {
    await this.direct("test", { type });
  }

  /** Does what people do on the stage: `pause`, `resume`, `skip`, `replay` and so on. */
  async direct(deed: string, what: object = {}): Promise<void> {
    await this.#ask(`/${deed}`, {
      method: "POST",
      body: JSON.stringify(what),
      headers: { "content-type": "application/json", "idempotency-key": randomUUID() },
    });
  }

  /** The alerts of the stage, oldest first. */
  async alerts(): Promise<Listed[]> {
    const listed = (await this.#ask("/alerts?limit=500")) as { alerts: Listed[] };
    return listed.alerts.reverse();
  }

  /** The overlays that the stage has. */
  async overlays(): Promise<string[]> {
    return (await this.stage()).overlays.map(({ overlay }) => overlay);
  }

  /** The alert that plays, or starts in a moment. */
  async playing(): Promise<string | undefined> {
    return (await this.stage()).playing?.alert.id;
  }

  async stage(): Promise<Stage> {
    return (await this.#ask("")) as Stage;
  }

  async #ask(path: string, request: { headers?: Record<string, string> } & RequestInit = {}) {
    const headers = { ...request.headers, authorization: `Bearer ${this.#key}` };
    const answer = await fetch(`${this.#base}/api/v1/stages/main${path}`, { ...request, headers });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`);
    return JSON.parse(text) as unknown;
  }

  get #where(): string[] {
    const file = join(this.#folder, "tapedeck.toml");
    return ["--data", join(this.#folder, "data"), "--config", file];
  }
}
