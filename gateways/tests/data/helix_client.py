"""A Twitch client of others (twitchAPI) against the fake in src/sandbox/twitch and src/sandbox/lists.rs: every way to
a token, what Helix lists, and a line in chat.

The test that starts this (tests/it/twitch/vendor.rs) has filled the lists, and says yes to the device code.
"""

import asyncio
import sys
from urllib.parse import parse_qs, urlsplit

import aiohttp
import twitchAPI
from twitchAPI.oauth import (
    CodeFlow,
    UserAuthenticator,
    refresh_access_token,
    revoke_token,
    validate_token,
)
from twitchAPI.twitch import Twitch
from twitchAPI.type import (
    AuthScope,
    CustomRewardRedemptionStatus,
    InvalidRefreshTokenException,
    InvalidTokenException,
    MissingScopeException,
    SortOrder,
    TwitchAPIException,
)

API, IDENTITY, REDIRECT, CLIENT, SECRET = sys.argv[1:]
AT = {"auth_base_url": IDENTITY + "/"}
SCOPES = [
    AuthScope.MODERATION_READ,
    AuthScope.MODERATOR_READ_FOLLOWERS,
    AuthScope.CHANNEL_READ_SUBSCRIPTIONS,
    AuthScope.CHANNEL_READ_REDEMPTIONS,
    AuthScope.USER_WRITE_CHAT,
]
US = "1000"


async def all_of(rows):
    return [row async for row in rows]


async def refuses(error, deed):
    try:
        await deed
    except error as refused:
        return str(refused)
    raise AssertionError("no " + error.__name__)


async def as_the_application(twitch):
    info = await validate_token(twitch.get_app_token(), **AT)
    assert info["client_id"] == CLIENT and "user_id" not in info, info
    [one] = await all_of(twitch.get_users(user_ids=["5001"]))
    assert (one.login, one.display_name) == ("reeldeal", "ReelDeal"), one
    assert "5001" in one.profile_image_url and one.created_at.year == 2016, one
    both = await all_of(twitch.get_users(user_ids=["5002"], logins=["goldenreel", "nobody_is"]))
    assert sorted(one.id for one in both) == [US, "5002"], both
    assert "malformed" in await refuses(
        TwitchAPIException, all_of(twitch.get_users(logins=["no login"]))
    )
    games = await all_of(twitch.get_games(names=["Just Chatting"], game_ids=["509660"]))
    assert [(game.id, game.name) for game in games] == [
        ("509658", "Just Chatting"),
        ("509660", "Art"),
    ], games
    assert "{width}x{height}" in games[0].box_art_url and games[0].igdb_id == "", games


async def a_code(twitch):
    """What somebody who says yes in a browser is sent back with."""
    authenticator = UserAuthenticator(twitch, SCOPES, url=REDIRECT, **AT)
    url = authenticator.return_auth_url()
    async with aiohttp.ClientSession(headers={"x-person": US}) as browser:
        async with browser.get(url, allow_redirects=False) as answer:
            assert answer.status in (302, 303), answer.status
            back = answer.headers["location"]
    assert back.startswith(REDIRECT + "?"), back
    said = parse_qs(urlsplit(back).query)
    assert said["state"] == [authenticator.state], said
    assert said["scope"] == [" ".join(scope.value for scope in SCOPES)], said
    return authenticator, said["code"][0]


async def as_a_person(twitch):
    """Two tokens of the broadcaster, and their refresh token, which is used once."""
    authenticator, code = await a_code(twitch)
    access, refresh = await authenticator.authenticate(user_token=code)
    again = authenticator.authenticate(user_token=code)
    assert "Invalid authorization code" in await refuses(TwitchAPIException, again)
    info = await validate_token(access, **AT)
    assert (info["user_id"], info["login"]) == (US, "goldenreel"), info
    assert set(info["scopes"]) == set(SCOPES), info
    wants = SCOPES + [AuthScope.BITS_READ]
    await refuses(MissingScopeException, twitch.set_user_authentication(access, wants, refresh))

    new, refresh_of_new = await refresh_access_token(refresh, CLIENT, SECRET, **AT)
    assert new != access and refresh_of_new != refresh
    used = refresh_access_token(refresh, CLIENT, SECRET, **AT)
    assert "Invalid refresh token" in await refuses(InvalidRefreshTokenException, used)
    assert (await validate_token(access, **AT))["status"] == 401
    await twitch.set_user_authentication(new, SCOPES, refresh_of_new)
    [me] = await all_of(twitch.get_users())
    assert me.id == US, me


async def over_a_device(twitch):
    flow = CodeFlow(twitch, SCOPES, **AT)
    code, url = await flow.get_code()
    assert code and code in url, (code, url)
    access, refresh = await asyncio.wait_for(flow.wait_for_auth_complete(), 60)
    assert (await validate_token(access, **AT))["user_id"] == US
    # A token that is not good is refreshed without anybody asking.
    await twitch.set_user_authentication("gone", SCOPES, refresh, validate=False)
    [me] = await all_of(twitch.get_users())
    assert me.id == US and twitch.get_user_auth_token() not in ("gone", access)


async def the_channel(twitch):
    [stream] = await all_of(twitch.get_streams(user_id=[US]))
    assert (stream.id, stream.user_login, stream.type) == ("s-1", "goldenreel", "live"), stream
    assert stream.started_at.isoformat() == "2026-07-01T18:00:00+00:00", stream
    assert stream.viewer_count == 5 and "{width}" in stream.thumbnail_url, stream
    [channel] = await twitch.get_channel_information(US)
    assert (channel.title, channel.game_name) == ("Tapes all night", "Just Chatting"), channel
    assert (channel.game_id, channel.broadcaster_language) == ("509658", "en"), channel
    assert (channel.broadcaster_name, channel.delay, channel.tags) == ("GoldenReel", 0, []), channel


async def the_people(twitch):
    followers = await twitch.get_channel_followers(US)
    assert followers.total == 5 and len(followers.data) == 2, followers
    found = await all_of(followers)
    # The newest first.
    assert [one.user_id for one in found] == ["6005", "6004", "6003", "6002", "6001"], found
    assert (found[0].user_login, found[0].user_name) == ("login6005", "Name6005"), found
    assert found[0].followed_at.isoformat() == "2026-07-01T18:05:00+00:00", found

    subscribers = await twitch.get_broadcaster_subscriptions(US)
    assert (subscribers.total, subscribers.points) == (4, 4), subscribers
    found = await all_of(subscribers)
    assert [one.user_id for one in found] == ["6001", "6002", "6003", "6004"], found
    first = found[0]
    assert (first.user_login, first.user_name, first.tier) == ("login6001", "Name6001", "1000")
    assert (first.broadcaster_login, first.broadcaster_name) == ("goldenreel", "GoldenReel")
    assert not first.is_gift and first.gifter_id == "" and first.plan_name, first

    found = await all_of(twitch.get_moderators(US))
    names = [(one.user_id, one.user_login, one.user_name) for one in found]
    assert names == [
        ("7", "mod", "Mod"),
        ("9000", "tapebot", "TapeBot"),
        ("6001", "login6001", "Name6001"),
    ], names


async def the_rewards(twitch):
    ours, theirs = await twitch.get_custom_reward(US)
    assert (ours.id, ours.title, ours.cost) == ("kind-rewind", "Kind rewind", 300), ours
    assert (ours.broadcaster_id, ours.broadcaster_name) == (US, "GoldenReel"), ours
    assert ours.is_enabled and ours.is_in_stock and not ours.is_paused, ours
    assert not ours.is_user_input_required and ours.background_color.startswith("#"), ours
    assert ours.image is None and ours.default_image["url_4x"], ours
    for limit in (
        ours.max_per_stream_setting,
        ours.max_per_user_per_stream_setting,
        ours.global_cooldown_setting,
    ):
        assert limit.is_enabled is False, ours
    assert ours.cooldown_expires_at is None, ours
    [only] = await twitch.get_custom_reward(US, only_manageable_rewards=True)
    assert only.id == ours.id, only

    status = CustomRewardRedemptionStatus.UNFULFILLED
    found = await all_of(twitch.get_custom_reward_redemption(US, ours.id, status=status))
    assert [one.id for one in found] == ["r-1", "r-2", "r-3"], found
    first = found[0]
    assert (first.user_id, first.user_name, first.status) == ("5001", "Name5001", status), first
    assert (first.reward.id, first.reward.title, first.reward.cost) == (
        "kind-rewind",
        "Kind rewind",
        300,
    ), first
    assert (first.broadcaster_login, first.user_input) == ("goldenreel", ""), first
    newest = twitch.get_custom_reward_redemption(
        US, ours.id, status=status, sort=SortOrder.NEWEST
    )
    assert [one.id for one in await all_of(newest)] == ["r-3", "r-2", "r-1"]
    done = CustomRewardRedemptionStatus.FULFILLED
    found = await all_of(twitch.get_custom_reward_redemption(US, ours.id, status=done))
    assert [one.id for one in found] == ["r-4"], found
    other = all_of(twitch.get_custom_reward_redemption(US, theirs.id, status=status))
    assert "Client-Id" in await refuses(TwitchAPIException, other)


async def main():
    assert twitchAPI.__version__ == "4.5.0", twitchAPI.__version__
    twitch = await Twitch(CLIENT, SECRET, base_url=API + "/", auth_base_url=IDENTITY + "/")
    await as_the_application(twitch)
    await as_a_person(twitch)
    await over_a_device(twitch)
    await the_channel(twitch)
    await the_people(twitch)
    await the_rewards(twitch)
    sent = await twitch.send_chat_message(US, US, "hello from Python & others")
    assert sent.is_sent and sent.message_id and sent.drop_reason is None, sent

    token = twitch.get_user_auth_token()
    assert await revoke_token(CLIENT, token, **AT)
    assert (await validate_token(token, **AT))["status"] == 401
    assert not await revoke_token(CLIENT, token, **AT)
    twitch.auto_refresh_auth = False
    await refuses(InvalidTokenException, twitch.set_user_authentication(token, SCOPES))
    print("it is content")


asyncio.run(main())
