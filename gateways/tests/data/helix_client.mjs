// The client library that many tools of streamers are built on (@twurple/api) against the fake in src/sandbox/twitch and
// src/sandbox/lists.rs: the ways to a token, what Helix lists, and a line in chat.
//
// node helix_client.mjs FOLDER REDIRECT CLIENT_ID SECRET, with TWURPLE_MOCK_API_PORT in the environment. The test that starts
// this (tests/it/twitch/vendor.rs) has filled the lists.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder, redirect, clientId, clientSecret] = process.argv.slice(2);
const of = (name) => join(folder, 'node_modules', '@twurple', name);
const load = (name) => import(join(of(name), 'lib', 'index.js'));
for (const name of ['api', 'auth']) {
  const { version } = JSON.parse(readFileSync(join(of(name), 'package.json'), 'utf8'));
  assert.equal(version, '8.1.4', name);
}
const [auth, { ApiClient }] = await Promise.all(['auth', 'api'].map(load));
const us = '1000';
const scopes = [
  'moderation:read',
  'moderator:read:followers',
  'channel:read:subscriptions',
  'channel:read:redemptions',
  'user:write:chat',
];
const refused = (status) => (error) => error.statusCode === status;

// What somebody who says yes in a browser is sent back with.
async function code() {
  const asked = new URL(`http://localhost:${process.env.TWURPLE_MOCK_API_PORT}/auth/authorize`);
  const words = { client_id: clientId, redirect_uri: redirect, response_type: 'code', scope: scopes.join(' ') };
  asked.search = new URLSearchParams({ ...words, state: 'ours' }).toString();
  const answer = await fetch(asked, { headers: { 'x-person': us }, redirect: 'manual' });
  const back = new URL(answer.headers.get('location'));
  assert.equal(back.origin + back.pathname, redirect);
  assert.equal(back.searchParams.get('state'), 'ours');
  return back.searchParams.get('code');
}

const once = await code();
const first = await auth.exchangeCode(clientId, clientSecret, once, redirect);
assert.deepEqual(first.scope, scopes);
assert.equal(first.expiresIn, 14400);
await assert.rejects(auth.exchangeCode(clientId, clientSecret, once, redirect), refused(400));
const info = await auth.getTokenInfo(first.accessToken, clientId);
assert.deepEqual([info.userId, info.userName, info.clientId], [us, 'goldenreel', clientId]);
const second = await auth.refreshUserToken(clientId, clientSecret, first.refreshToken);
await assert.rejects(auth.refreshUserToken(clientId, clientSecret, first.refreshToken), refused(400));
await assert.rejects(auth.getTokenInfo(first.accessToken, clientId), { name: 'InvalidTokenError' });

const provider = new auth.RefreshingAuthProvider({ clientId, clientSecret, redirectUri: redirect });
const refreshes = [];
provider.onRefresh((userId, token) => refreshes.push([userId, token.accessToken]));
// What is over is refreshed before anything is asked with it.
provider.addUser(us, { ...second, expiresIn: 1, obtainmentTimestamp: 0 });
const api = new ApiClient({ authProvider: provider });

const me = await api.users.getUserById(us);
assert.deepEqual([me.name, me.displayName], ['goldenreel', 'GoldenReel']);
assert.equal(refreshes.length, 1);
assert.equal(refreshes[0][0], us);
// What is taken back is not good any more; whoever says yes once more is let in again.
await auth.revokeToken(clientId, refreshes[0][1]);
await assert.rejects(auth.getTokenInfo(refreshes[0][1], clientId), { name: 'InvalidTokenError' });
assert.equal(await provider.addUserForCode(await code()), us);

// Of nobody: asked with the application's own token, and several at a time.
const [them, nobody, games] = await Promise.all([
  api.users.getUserByName('reeldeal'),
  api.users.getUserByName('nobody_is'),
  api.games.getGamesByNames(['Just Chatting', 'Art']),
]);
assert.deepEqual([them.id, them.displayName, them.creationDate.getUTCFullYear()], ['5001', 'ReelDeal', 2016]);
assert.ok(them.profilePictureUrl.includes('5001'));
assert.equal(nobody, null);
assert.deepEqual(games.map((game) => [game.id, game.name]), [['509658', 'Just Chatting'], ['509660', 'Art']]);
assert.ok(games[0].getBoxArtUrl(30, 40).includes('30x40'));

const stream = await api.streams.getStreamByUserId(us);
assert.deepEqual([stream.id, stream.userName, stream.type, stream.viewers], ['s-1', 'goldenreel', 'live', 5]);
assert.equal(stream.startDate.toISOString(), '2026-07-01T18:00:00.000Z');
assert.ok(stream.getThumbnailUrl(320, 180).includes('320x180'));
const channel = await api.channels.getChannelInfoById(us);
assert.deepEqual([channel.title, channel.gameName, channel.gameId], ['Tapes all night', 'Just Chatting', '509658']);
assert.deepEqual([channel.language, channel.displayName, channel.tags], ['en', 'GoldenReel', []]);

const following = api.channels.getChannelFollowersPaginated(us);
assert.equal(await following.getTotalCount(), 5);
const followers = await following.getAll();
// The newest first.
assert.deepEqual(followers.map((one) => one.userId), ['6005', '6004', '6003', '6002', '6001']);
assert.deepEqual([followers[0].userName, followers[0].userDisplayName], ['login6005', 'Name6005']);
assert.equal(followers[0].followDate.toISOString(), '2026-07-01T18:05:00.000Z');

const subscribing = api.subscriptions.getSubscriptionsPaginated(us);
assert.deepEqual([await subscribing.getTotalCount(), await subscribing.getPoints()], [4, 4]);
const subscribers = await subscribing.getAll();
assert.deepEqual(subscribers.map((one) => one.userId), ['6001', '6002', '6003', '6004']);
const { userName, userDisplayName, tier, isGift, broadcasterName } = subscribers[0];
assert.deepEqual(
  [userName, userDisplayName, tier, isGift, broadcasterName],
  ['login6001', 'Name6001', '1000', false, 'goldenreel'],
);

const moderators = await api.moderation.getModeratorsPaginated(us).getAll();
assert.deepEqual(
  moderators.map((one) => [one.userId, one.userName, one.userDisplayName]),
  [['7', 'mod', 'Mod'], ['9000', 'tapebot', 'TapeBot'], ['6001', 'login6001', 'Name6001']],
);

const [ours, theirs] = await api.channelPoints.getCustomRewards(us);
assert.deepEqual([ours.id, ours.title, ours.cost, ours.prompt], ['kind-rewind', 'Kind rewind', 300, '']);
assert.deepEqual([ours.broadcasterName, ours.isEnabled, ours.isPaused, ours.isInStock], ['goldenreel', true, false, true]);
assert.deepEqual([ours.maxRedemptionsPerStream, ours.maxRedemptionsPerUserPerStream], [null, null]);
assert.deepEqual([ours.globalCooldown, ours.cooldownExpiryDate, ours.autoFulfill], [null, null, false]);
assert.ok(ours.getImageUrl(4).startsWith('https://'));
const manageable = await api.channelPoints.getCustomRewards(us, true);
assert.deepEqual(manageable.map((one) => one.id), ['kind-rewind']);

const redeemed = (reward, status, filter) =>
  api.channelPoints.getRedemptionsForBroadcasterPaginated(us, reward, status, filter).getAll();
const waiting = await redeemed(ours.id, 'UNFULFILLED', {});
assert.deepEqual(waiting.map((one) => one.id), ['r-1', 'r-2', 'r-3']);
const { userId, rewardId, rewardTitle, rewardCost, isFulfilled } = waiting[0];
assert.deepEqual(
  [userId, waiting[0].userName, rewardId, rewardTitle, rewardCost, isFulfilled],
  ['5001', 'login5001', 'kind-rewind', 'Kind rewind', 300, false],
);
assert.equal(waiting[0].redemptionDate.toISOString(), '2026-07-01T18:01:00.000Z');
const newest = await redeemed(ours.id, 'UNFULFILLED', { newestFirst: true });
assert.deepEqual(newest.map((one) => one.id), ['r-3', 'r-2', 'r-1']);
const done = await redeemed(ours.id, 'FULFILLED', {});
assert.deepEqual(done.map((one) => [one.id, one.isFulfilled]), [['r-4', true]]);
await assert.rejects(redeemed(theirs.id, 'UNFULFILLED', {}), refused(403));

const sent = await api.chat.sendChatMessage(us, 'hello from Node & others');
assert.equal(sent.isSent, true);
assert.ok(sent.id);
process.stdout.write('it is content\n');
