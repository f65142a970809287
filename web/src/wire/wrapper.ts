const EVERY_MS = 2_000;

/** Tells the file around this page, if there is one (deploy/obs), that the page is alive. */
export function tellWrapper(): void {
  if (window.parent === window) return;
  const tell = () => window.parent.postMessage("tapedeck", "*");
  tell();
  setInterval(tell, EVERY_MS);
}
