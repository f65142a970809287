import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Alert } from "../src/overlay/alert";
import { Gallery, PICTURE_MS_MAX, pictureUrl } from "../src/overlay/gallery";

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

  it("has nothing to wait for where there is no picture, or no name of one", () => {
    const load = vi.fn(() => Promise.reject(new Error("never asked")));
    const gallery = new Gallery(() => undefined, load);
    for (const picture of [undefined, null, 7, "", "../x", name("g"), name("a").slice(1)]) {
      expect(pictureUrl(alert(picture))).toBeNull();
      expect(gallery.isReady(alert(picture))).toBe(true);
    }
    expect(load).not.toHaveBeenCalled();
  });

  it("is ready when the picture is there, loads it once, and says so", async () => {
    const onReady = vi.fn();
    const load = vi.fn((url: string) => Promise.resolve(image(url)));
    const gallery = new Gallery(onReady, load);
    expect(gallery.isReady(alert(name("a")))).toBe(false);
    expect(gallery.isReady(alert(name("a")))).toBe(false);
    await vi.waitFor(() => expect(onReady).toHaveBeenCalledTimes(1));
    expect(gallery.isReady(alert(name("a")))).toBe(true);
    const url = `/api/v1/pictures/${name("a")}`;
    expect(gallery.picture(alert(name("a")))).toEqual({ url });
    expect(load).toHaveBeenCalledTimes(1);
  });

  it("goes on without a picture that fails or takes too long", async () => {
    const onReady = vi.fn();
    const loads = [Promise.reject(new Error("404")), new Promise<never>(() => undefined)];
    const gallery = new Gallery(onReady, () => loads.shift() ?? Promise.reject(new Error("more")));
    expect(gallery.isReady(alert(name("a")))).toBe(false);
    await vi.waitFor(() => expect(onReady).toHaveBeenCalledTimes(1));
    expect(gallery.isReady(alert(name("a")))).toBe(true);
    expect(gallery.picture(alert(name("a")))).toBeNull();
    expect(gallery.isReady(alert(name("b")))).toBe(false);
    await vi.advanceTimersByTimeAsync(PICTURE_MS_MAX - 1);
    expect(gallery.isReady(alert(name("b")))).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(gallery.isReady(alert(name("b")))).toBe(true);
    expect(onReady).toHaveBeenCalledTimes(2);
  });

  it("keeps few pictures, however many alerts there are", async () => {
    const load = vi.fn((url: string) => Promise.resolve(image(url)));
    const gallery = new Gallery(() => undefined, load);
    for (const digit of ["1", "2", "3"]) gallery.isReady(alert(name(digit)));
    await vi.advanceTimersByTimeAsync(0);
    expect(gallery.isReady(alert(name("3")))).toBe(true);
    expect(gallery.isReady(alert(name("1")))).toBe(false);
    expect(load).toHaveBeenCalledTimes(4);
  });
});
