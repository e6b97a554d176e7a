"""The operators' page in a real browser: read on a desk and on a telephone, with forms that only it can send."""

import re
from collections.abc import Callable, Iterator

import pytest
from chromium import WAIT_MS, complaint
from operators import STEPS, digests, run_of, watched
from playwright.sync_api import BrowserContext, Page, Request, expect

from infra import registry, runs
from monitoring import requests

pytestmark = pytest.mark.browser

TELEPHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "device_scale_factor": 2}
EVIL = "http://evil.example/"


@pytest.fixture
def visit(browser, home, operators) -> Iterator[Callable[..., Page]]:
    """Opens the page as on a device; at the end, nothing may have left the origin or gone wrong unseen."""
    origin = str(operators.base_url)
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(**device: object) -> Page:
        context = browser.new_context(**device)
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("console", lambda message: complaints.extend(complaint(message)))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.extend(stray(request, origin)))
        page.goto(origin)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def stray(request: Request, origin: str) -> list[str]:
    return [] if request.url.startswith((origin, "data:", EVIL)) else [f"asks {request.url}"]


def press(page: Page, form: str, why: str, key: str, button: str) -> None:
    page.locator(f"#{form} summary").click()
    page.locator(f"#{form}").get_by_label("Why").fill(why)
    page.locator(f"#{form}").get_by_label("API key").fill(key)
    page.locator(f"#{form}").get_by_role("button", name=button).click()


def test_it_shows_the_loop_at_a_glance(home, visit):
    runs.keep(home, run_of(digests(home)[0]))
    watched(home)
    page = visit(viewport={"width": 1200, "height": 900})
    expect(page.locator("#champion")).to_contain_text(registry.reigning(home).version)
    expect(page.locator("#drift .figure")).to_have_text("0.42")
    expect(page.locator("#quality .figure")).to_have_text("90.00%")
    expect(page.locator("#reason")).to_contain_text("labels are suspicious")
    assert page.locator(".graph .step").all_text_contents() == list(STEPS)
    assert page.locator(".graph .seconds").all_text_contents() == ["from the cache", "12 s", "24 s", "36 s"]
    bars = [float(bar.get_attribute("width") or 0) for bar in page.locator(".graph rect").all()]
    assert bars == [0, 33.3, 66.7, 100]
    expect(page.get_by_role("img")).to_have_count(1)
    expect(page.get_by_role("img")).to_have_accessible_name(re.compile("^Drift score, accuracy, answers"))


@pytest.mark.parametrize("scripts", [True, False])
def test_a_retraining_is_asked_for_with_and_without_scripts(home, visit, key, scripts):
    page = visit(java_script_enabled=scripts)
    press(page, "retrain", "new pens <b>", key, "Ask for a retraining")
    expect(page.get_by_role("status")).to_contain_text("A retraining is asked for")
    expect(page.locator("#requests")).to_contain_text("ada asked for a retraining")
    expect(page.locator("#requests")).to_contain_text("new pens <b>")
    assert [(each.by, each.why) for each in requests.pending(home)] == [("ada", "new pens <b>")]
    assert key not in page.url
    assert page.context.cookies() == []


def test_a_version_is_promoted_and_taken_back(home, visit, key):
    before, now = digests(home)
    page = visit()
    page.locator("#promote summary").click()
    page.get_by_label("Model").select_option(before)
    page.locator("#promote summary").click()
    press(page, "promote", "reads our pens", key, "Promote")
    expect(page.get_by_role("status")).to_contain_text("The model is champion")
    expect(page.locator("#versions tr.champion")).to_contain_text(before[:12])
    expect(page.locator("#versions tr.champion td").nth(5)).to_have_text("ada")
    expect(page.locator("#versions tr.champion td").nth(6)).to_have_text("reads our pens")
    press(page, "rollback", "misreads sevens", key, f"Roll back to {now[:12]}")
    expect(page.get_by_role("status")).to_contain_text("is back")
    expect(page.locator("#versions tr.rolled-back")).to_contain_text("misreads sevens")
    assert registry.reigning(home).digest == now
    expect(page.get_by_label("Model")).to_have_count(0)  # what is barred cannot be chosen


def test_after_a_wrong_key_only_the_key_is_typed_again(home, visit, key):
    page = visit()
    press(page, "retrain", "new pens", key[:-1], "Ask for a retraining")
    expect(page.get_by_role("alert")).to_contain_text("This API key is not known here")
    assert requests.pending(home) == []
    form = page.locator("#retrain")
    expect(form.get_by_label("Why")).to_have_value("new pens")
    expect(form.get_by_label("API key")).to_have_value("")
    form.get_by_label("API key").fill(key)
    form.get_by_role("button").click()
    expect(page.get_by_role("status")).to_contain_text("A retraining is asked for")


def test_a_page_on_another_site_cannot_press_a_button_even_if_it_knows_a_key(home, operators, visit, key):
    page = visit()
    form = f"""<form method="post" action="{operators.base_url}/retrain">
      <input name="why" value="evil"><input name="key" value="{key}"><button>Win a prize</button></form>"""
    page.route(f"{EVIL}**", lambda route: route.fulfill(body=form, content_type="text/html"))
    page.goto(EVIL)
    with page.expect_response(lambda answer: answer.url.endswith("/retrain")) as answered:
        page.get_by_role("button").click()
    assert answered.value.status == 403
    assert requests.pending(home) == []


def test_what_is_new_appears_by_itself_but_never_while_someone_types(home, visit):
    page = visit()
    page.clock.install()
    page.reload()
    registry.rollback(home, "misreads sevens", "ada")
    page.clock.fast_forward(16_000)
    expect(page.locator("#champion")).to_contain_text(registry.reigning(home).version)
    page.locator("#retrain summary").click()
    page.get_by_label("Why").fill("new pens")
    page.evaluate("globalThis.sameAsBefore = true")
    page.clock.fast_forward(60_000)
    page.wait_for_timeout(300)
    assert page.evaluate("globalThis.sameAsBefore")
    expect(page.get_by_label("Why")).to_have_value("new pens")


def test_the_time_shown_is_chosen_and_kept_while_it_refreshes(home, visit):
    page = visit()
    page.get_by_role("link", name="day").click()
    expect(page.get_by_role("link", name="day")).to_have_attribute("aria-current", "true")
    page.goto(f"{page.url}&done=promote")
    expect(page.get_by_role("status")).to_contain_text("The model is champion")
    assert page.url.endswith("?span=day")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_telephone_by_day_and_by_night(home, visit, scheme):
    runs.keep(home, run_of(digests(home)[0], "a verdict of many words " * 10))
    watched(home)
    page = visit(**TELEPHONE, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    drawing = page.locator("figure.narrow svg").bounding_box()
    assert drawing is not None
    assert 320 < drawing["width"] < 390  # at this size its letters are those of the style sheet
    expect(page.locator("figure.wide")).to_be_hidden()
    lightness = page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.slice(4))")
    assert (lightness < 60) == (scheme == "dark")
    for summary in page.locator("#actions summary").all():
        box = summary.bounding_box()
        assert box is not None
        assert box["height"] >= 28
