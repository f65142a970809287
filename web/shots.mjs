import { chromium } from "playwright-core";
const [base, key, out] = process.argv.slice(2);
const b = await chromium.launch({ executablePath: "/usr/bin/chromium", headless: true, args: ["--no-sandbox","--disable-gpu","--disable-quic","--no-first-run","--disable-background-networking","--disable-component-update","--disable-sync","--autoplay-policy=no-user-gesture-required"] });
const ctx = await b.newContext({ viewport: { width: 960, height: 540 } });
const o = await ctx.newPage(); const logs=[];
for (const p of [o]) { p.on("console", m => logs.push(m.text())); p.on("pageerror", e => logs.push("ERR "+e)); }
await o.goto(`${base}/overlay#key=${key}`);
await o.addStyleTag({content:"html{background:#345!important}"}).catch(()=>{});
const ctx2 = await b.newContext({ viewport: { width: 420, height: 540 } });
const c = await ctx2.newPage(); c.on("console", m => logs.push("chat "+m.text())); c.on("pageerror", e => logs.push("chat ERR "+e));
await c.goto(`${base}/chat#key=${key}`);
const n = Number(process.argv[5] ?? 12);
for (let i = 0; i < n; i++) { await new Promise(r => setTimeout(r, 3000)); await o.screenshot({ path: `${out}/o${i}.png` }); }
await c.screenshot({ path: `${out}/c.png` });
console.log(logs.slice(0,40).join("\n")); await b.close();
