import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Alert } from "../src/overlay/alert";
import { fetchPatiently, Gallery, PICTURE_MS_MAX, pictureUrl } from "../src/overlay/gallery";

const name = (digit: string) => digit.repeat(64);

function alert(picture: unknown): Alert {
  return { position: 1, id: "a", type: "ghost", at: "", data: { picture } };
}

/** Stands for a loaded picture; the gallery only hands it on. */
const image = (url: string) => ({ url }) as unknown as HTMLImageElement;

describe("the gallery", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    vi.spyOn(console, "warn").mockImplementation(() => undefined);
  });

  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  it("asks for nothing where there is no picture, or no name of one", () => {
    const load = vi.fn(() => Promise.reject(new Error("never asked")));
    const gallery = new Gallery(() => undefined, load);
    for (const picture of [undefined, null, 7, "", "../x", name("g"), name("a").slice(1)]) {
      expect(pictureUrl(alert(picture))).toBeNull();
      gallery.prepare(alert(picture));
      gallery.insist(alert(picture));
      expect(gallery.picture(alert(picture))).toBeNull();
    }
    expect(load).not.toHaveBeenCalled();
  });

  it("loads a picture once, and says when it is there", async () => {
    const onReady = vi.fn();
    const load = vi.fn((url: string) => Promise.resolve(image(url)));
    const gallery = new Gallery(onReady, load);
    gallery.prepare(alert(name("a")));
    gallery.prepare(alert(name("a")));
    gallery.insist(alert(name("a")));
    expect(gallery.picture(alert(name("a")))).toBeNull();
    await vi.waitFor(() => expect(onReady).toHaveBeenCalledTimes(1));
    gallery.insist(alert(name("a")));
    const url = `/api/v1/pictures/${name("a")}`;
    expect(gallery.picture(alert(name("a")))).toEqual({ url });
    expect(load).toHaveBeenCalledTimes(1);
  });

  it("knows the thumbnail of a tape", () => {
    const tape: Alert = { ...alert(name("a")), type: "tape", data: { thumbnail: name("b") } };
    expect(pictureUrl(tape)).toBe(`/api/v1/pictures/${name("b")}`);
  });

  it("gives a picture up that fails or takes too long, until somebody insists", async () => {
    const onReady = vi.fn();
    const loads = [Promise.reject(new Error("404")), new Promise<never>(() => undefined)];
    const load = vi.fn(() => loads.shift() ?? Promise.resolve(image("at last")));
    const gallery = new Gallery(onReady, load);
    gallery.prepare(alert(name("a")));
    await vi.advanceTimersByTimeAsync(0);
    gallery.prepare(alert(name("a")));
    expect(load).toHaveBeenCalledTimes(1);
    gallery.insist(alert(name("a")));
    await vi.advanceTimersByTimeAsync(PICTURE_MS_MAX - 1);
    gallery.insist(alert(name("a")));
    expect(load).toHaveBeenCalledTimes(2);
    await vi.advanceTimersByTimeAsync(1);
    expect(onReady).not.toHaveBeenCalled();
    gallery.insist(alert(name("a")));
    await vi.advanceTimersByTimeAsync(0);
    expect(onReady).toHaveBeenCalledTimes(1);
    expect(gallery.picture(alert(name("a")))).toEqual({ url: "at last" });
  });

  it("keeps few pictures, however many alerts there are", async () => {
    const load = vi.fn((url: string) => Promise.resolve(image(url)));
    const gallery = new Gallery(() => undefined, load);
    for (const digit of ["1", "2", "3"]) gallery.prepare(alert(name(digit)));
    await vi.advanceTimersByTimeAsync(0);
    expect(gallery.picture(alert(name("3")))).not.toBeNull();
    expect(gallery.picture(alert(name("1")))).toBeNull();
  });
});

describe("a picture's bytes", () => {
  const answers: (Response | Error)[] = [];
  const asked = vi.fn(() => {
    const answer = answers.shift() ?? new Response(null, { status: 503 });
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  });

  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal("fetch", asked);
    asked.mockClear();
    answers.length = 0;
  });

  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("are asked for again when the server is busy, in trouble or gone, and not too soon", async () => {
    const busy = new Response(null, { status: 429, headers: { "Retry-After": "1" } });
    answers.push(busy, new Response(null, { status: 502 }), new TypeError("gone"));
    answers.push(new Response("bytes"));
    const bytes = fetchPatiently("/picture", new AbortController().signal);
    await vi.advanceTimersByTimeAsync(999);
    expect(asked).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(asked).toHaveBeenCalledTimes(2);
    await vi.advanceTimersByTimeAsync(PICTURE_MS_MAX);
    expect(await (await bytes).text()).toBe("bytes");
    expect(asked).toHaveBeenCalledTimes(4);
  });

  it("are not asked for again when there are none", async () => {
    answers.push(new Response(null, { status: 404 }));
    await expect(fetchPatiently("/picture", new AbortController().signal)).rejects.toThrow("404");
    expect(asked).toHaveBeenCalledTimes(1);
  });

  it("are asked for a few times, and not any more once nobody waits for them", async () => {
    const bytes = fetchPatiently("/picture", new AbortController().signal);
    void bytes.catch(() => undefined);
    await vi.advanceTimersByTimeAsync(PICTURE_MS_MAX);
    await expect(bytes).rejects.toThrow("503");
    expect(asked).toHaveBeenCalledTimes(5);

    const left = new AbortController();
    const unwanted = fetchPatiently("/picture", left.signal);
    void unwanted.catch(() => undefined);
    await vi.advanceTimersByTimeAsync(100);
    left.abort(new Error("late"));
    await expect(unwanted).rejects.toThrow("late");
    await vi.advanceTimersByTimeAsync(PICTURE_MS_MAX);
    expect(asked).toHaveBeenCalledTimes(6);
  });
});
