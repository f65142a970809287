"""A Twitch client of others (twitchAPI) against the fake in src/sandbox/eventsub.rs: what it understands, the fake says
rightly.

The test that starts this (tests/it/twitch/vendor.rs) does at each line that is printed what comes next.
"""

import asyncio
import sys

import twitchAPI
from twitchAPI.eventsub.websocket import EventSubWebsocket
from twitchAPI.twitch import Twitch
from twitchAPI.type import AuthScope, EventSubSubscriptionConflict, EventSubSubscriptionError

CONNECTION, API, IDENTITY, CLIENT, TOKEN = sys.argv[1:]


def say(*words):
    print(*words, flush=True)


async def cheered(data):
    assert data.event.broadcaster_user_id == "1000" and not data.event.is_anonymous
    say("cheer", data.event.user_name, data.event.bits)


async def followed(data):
    raise AssertionError("nobody follows")


async def main():
    assert twitchAPI.__version__ == "4.5.0", twitchAPI.__version__
    twitch = Twitch(
        CLIENT, authenticate_app=False, base_url=API + "/", auth_base_url=IDENTITY + "/"
    )
    twitch.auto_refresh_auth = False
    await twitch.set_user_authentication(TOKEN, [AuthScope.BITS_READ])
    revoked = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def taken_away(payload):
        assert payload["subscription"]["status"] == "authorization_revoked", payload
        say("revoked", payload["subscription"]["type"])
        loop.call_soon_threadsafe(revoked.set)

    # What it is told it hands on in a thread of its own: a loop given to it is not woken by that.
    eventsub = EventSubWebsocket(twitch, CONNECTION, API, revocation_handler=taken_away)
    eventsub.start()
    await eventsub.listen_channel_cheer("1000", cheered)
    try:
        await eventsub.listen_channel_cheer("1000", cheered)
        raise AssertionError("no conflict")
    except EventSubSubscriptionConflict as conflict:
        assert "already exists" in str(conflict)
    try:
        await eventsub.listen_channel_follow_v2("1000", "1000", followed)
        raise AssertionError("no refusal")
    except EventSubSubscriptionError as refused:
        assert "missing proper authorization" in str(refused)
    say("subscribed", eventsub.active_session.id)
    await asyncio.wait_for(revoked.wait(), 60)
    await eventsub.stop()
    say("it is content")


asyncio.run(main())
