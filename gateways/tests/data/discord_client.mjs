// The client that most bots for Discord are built on (@discordjs/rest) against the fake in src/sandbox/discord.rs: what it
// understands, the fake says rightly.
//
// node discord_client.mjs FOLDER BASE WEBHOOK TOKEN
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [folder, base, webhook, token] = process.argv.slice(2);
const require = createRequire(join(folder, 'client.js'));
const { REST, DiscordAPIError } = require('@discordjs/rest');
const manifest = join(folder, 'node_modules', '@discordjs', 'rest', 'package.json');
if (JSON.parse(readFileSync(manifest, 'utf8')).version !== '2.6.3') throw new Error('another version');
const say = (...words) => process.stdout.write(words.join(' ') + '\n');
const rest = new REST({ api: `${base}/api`, version: '10' });
const route = `/webhooks/${webhook}/${token}`;
const query = new URLSearchParams({ wait: 'true' });
const options = { auth: false, query };
const mentions = { allowed_mentions: { parse: [] } };
const refused = async (call) => {
  try {
    await call;
    say('taken');
  } catch (error) {
    if (!(error instanceof DiscordAPIError)) throw error;
    say('refused', error.status, error.code, error.rawError.errors ? Object.keys(error.rawError.errors) : '');
  }
};

const sent = await rest.post(route, { ...options, body: { content: 'We are live', ...mentions } });
say('sent', sent.content, sent.webhook_id === webhook);
const files = [{ name: 'ghost.png', data: Buffer.from('\x89PNG\r\n--not the end', 'latin1'), contentType: 'image/png' }];
const pictured = await rest.post(route, { ...options, files, body: { content: 'A ghost', ...mentions } });
say('pictured', pictured.content, pictured.attachments[0].filename, pictured.attachments[0].size);
const changed = await rest.patch(`${route}/messages/${sent.id}`, { auth: false, body: { content: 'We were live' } });
say('changed', changed.content, changed.edited_timestamp !== null);
await rest.delete(`${route}/messages/${sent.id}`, { auth: false });
await refused(rest.get(`${route}/messages/${sent.id}`, { auth: false }));
await refused(rest.post(route, { ...options, body: { content: '' } }));
await refused(rest.post(route, { ...options, body: { content: 'x'.repeat(2001) } }));
await refused(rest.post(route, { ...options, body: { content: 'x', username: 'The Discord' } }));
await refused(rest.post(`/webhooks/${webhook}/another`, { ...options, body: { content: 'x' } }));
await refused(rest.post(`/webhooks/1400000000000000009/${token}`, { ...options, body: { content: 'x' } }));
// Another client, which has not heard of any limit: it is told to wait, and comes back in time.
const news = await Promise.all(
  [1, 2, 3, 4, 5, 6].map((n) => new REST({ api: `${base}/api` }).post(route, { ...options, body: { content: `${n}` } })),
);
say('all sent', new Set(news.map((one) => one.id)).size);
