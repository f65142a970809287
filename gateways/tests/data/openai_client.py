"""OpenAI's own client against the fake in src/sandbox/openai.rs: what it understands, the fake says rightly.

The test that starts this (tests/it/openai/vendor.rs) has told the fake what to do, in the order of the calls here.
"""

import base64
import sys
import time

import openai

BASE, KEY, MODEL = sys.argv[1:]


def client(key=KEY, retries=0, patience=30.0):
    return openai.OpenAI(api_key=key, base_url=BASE, max_retries=retries, timeout=patience)


def draw(who=None, **more):
    return (who or client()).images.generate(
        **{"model": MODEL, "prompt": "a heron", "size": "1024x1024", "quality": "medium", **more}
    )


def fails(kind, call, **expected):
    try:
        call()
    except kind as error:
        assert type(error) is kind, error
        for name, value in expected.items():
            assert getattr(error, name) == value, (name, getattr(error, name))
        return error
    raise AssertionError(f"no {kind.__name__}")


def judge(words):
    return client().moderations.create(model="omni-moderation-latest", input=words).results[0]


assert openai.__version__ == "3.52.0", openai.__version__

picture = draw(background="opaque", output_format="png", moderation="auto", n=1)
assert base64.b64decode(picture.data[0].b64_json).startswith(b"\x89PNG")
assert picture.data[0].url is None
assert picture.usage.input_tokens == 50 and picture.usage.output_tokens == 1056
assert picture.usage.total_tokens == 1106 and picture.usage.input_tokens_details.text_tokens == 50
assert (picture.size, picture.quality, picture.output_format) == ("1024x1024", "medium", "png")
assert picture._request_id.startswith("req_")

assert not judge("a heron").flagged
flagged = judge("a fight")
assert flagged.flagged and flagged.categories.violence and not flagged.categories.hate
assert flagged.category_scores.violence > 0.9 and flagged.category_applied_input_types.violence == ["text"]

blocked = fails(openai.BadRequestError, draw, status_code=400, code="moderation_blocked")
assert blocked.type == "image_generation_user_error"
fails(openai.BadRequestError, draw, code="content_policy_violation")
fails(openai.RateLimitError, draw, code="rate_limit_exceeded", status_code=429)
fails(openai.RateLimitError, draw, code="insufficient_quota")
fails(openai.InternalServerError, draw, status_code=500)
fails(openai.InternalServerError, draw, status_code=502)

# It waits as long as it is told to, and then has its picture.
began = time.monotonic()
assert draw(client(retries=1)).data[0].b64_json
assert 1.0 <= time.monotonic() - began < 15.0

fails(openai.APITimeoutError, lambda: draw(client(patience=0.5)))
fails(openai.APIConnectionError, draw)

fails(openai.AuthenticationError, lambda: draw(client(key="sk-wrong")), code="invalid_api_key")
fails(openai.NotFoundError, lambda: draw(model="dall-e-3"), code="model_not_found")
fails(openai.BadRequestError, lambda: draw(response_format="b64_json"), param="response_format")
fails(openai.BadRequestError, lambda: draw(size="256x256"), param="size")
fails(openai.BadRequestError, lambda: draw(quality="standard"), param="quality")

assert client().models.retrieve(MODEL).id == MODEL
fails(openai.NotFoundError, lambda: client().models.retrieve("dall-e-3"), code="model_not_found")
print("the vendor's client is content")
