// A chat client of others (tmi.js) against the fake in src/sandbox/irc.rs: what it understands, the fake says rightly.
//
// The test that starts this (tests/it/twitch/irc/vendor.rs) does at each line that is printed what comes next.
const tmi = require('tmi.js');
const { version } = require('tmi.js/package.json');

const [port, login, token, channel] = process.argv.slice(2);
const say = (...words) => process.stdout.write(words.join(' ') + '\n');
if (version !== '1.8.5') throw new Error(version);

const connection = { server: '127.0.0.1', port: Number(port), secure: false, reconnect: true, reconnectInterval: 1000 };

// A login that is not good is told as such.
const refused = new tmi.Client({
  connection: { ...connection, reconnect: false },
  identity: { username: login, password: 'oauth:wrong' },
  channels: [channel],
});
const quiet = { info() {}, warn() {}, error() {} };
refused.log = quiet;

async function main() {
  await refused.connect().then(() => say('let in'), (reason) => say('refused:', reason));
  const options = { skipUpdatingEmotesets: true };
  const client = new tmi.Client({
    options, connection, identity: { username: login, password: token }, channels: [channel],
  });
  client.log = quiet;
  client.on('roomstate', (name, state) => say('room', name, state['room-id']));
  client.on('chat', (name, tags, text, self) => self ? say('said', text) :
    say('chat', tags['display-name'], tags.id, tags['user-id'], JSON.stringify(tags.badges), self, text));
  client.on('action', (name, tags, text) => say('action', tags['user-id'], text));
  client.on('cheer', (name, tags, text) => {
    say('cheer', tags.bits, text);
    client.say(name, 'thank you').catch((reason) => say('not said:', reason));
  });
  client.on('raw_message', ({ command, tags }) => {
    if (command === 'USERSTATE' && tags.id) say('taken', tags['display-name']);
  });
  client.on('timeout', (name, user, reason, seconds) => say('timeout', user, seconds));
  client.on('messagedeleted', (name, user, text, tags) => say('deleted', user, tags['target-msg-id']));
  client.on('clearchat', (name) => {
    say('cleared', name);
    say('it is content');
    client.disconnect().then(() => process.exit(0));
  });
  client.once('join', (name) => say('joined', name));
  await client.connect();
}

main().catch((error) => { console.error(error); process.exit(1); });
