// The client libraries that many tools of streamers are built on (@twurple) against the fake in src/sandbox/eventsub:
// what they understand, the fake says rightly.
//
// node twitch_client.mjs FOLDER CLIENT_ID TOKEN, with TWURPLE_MOCK_API_PORT in the environment. The test that starts this
// (tests/it/twitch/vendor.rs) does at each line that is printed what comes next.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder, clientId, token] = process.argv.slice(2);
const of = (name) => join(folder, 'node_modules', '@twurple', name);
const load = (name) => import(join(of(name), 'lib', 'index.js'));
const say = (...words) => process.stdout.write(words.join(' ') + '\n');
for (const name of ['api', 'auth', 'eventsub-ws']) {
  const { version } = JSON.parse(readFileSync(join(of(name), 'package.json'), 'utf8'));
  if (version !== '8.1.4') throw new Error(`${name} ${version}`);
}
const [{ StaticAuthProvider, getTokenInfo }, { ApiClient }, { EventSubWsListener }] =
  await Promise.all(['auth', 'api', 'eventsub-ws'].map(load));

await getTokenInfo('wrong', clientId).then(() => say('let in'), (reason) => say('refused:', reason.name));
const info = await getTokenInfo(token, clientId);
const api = new ApiClient({ authProvider: new StaticAuthProvider(clientId, token, info.scopes) });
const listener = new EventSubWsListener({ apiClient: api });
listener.onSubscriptionCreateSuccess(async () => {
  const enabled = await api.eventSub.getSubscriptionsForStatus('enabled');
  say('subscribed', info.userId, enabled.data.map((one) => one.type).join(','));
});
listener.onSubscriptionCreateFailure((_, error) => say('not subscribed:', error));
listener.onChannelCheer(info.userId, (cheer) => say('cheer', cheer.userDisplayName, cheer.bits));
listener.onRevoke((_, status) => {
  say('revoked', status);
  say('it is content');
  process.exit(0);
});
listener.start();
